export {
  type AccessPart,
  AccessModel,
  type AccessTab,
  type IDone,
  type IInvitation,
  scopeKind,
  TABS as ACCESS_TABS
} from './access';
export { AnalyticsModel, AnalyticsModels, ANALYTICS_MIME, type IAsked } from './analytics';
export { ApprovalsModel, isWhole, missingOf, pretty, visible } from './approvals';
export { AuditModel, EVERYTHING, type IAuditQuery } from './audit';
export {
  billedTotals,
  CostsModel,
  dayBars,
  daysOf,
  estimatedTotal,
  type IDayBars,
  type NamedRange,
  words
} from './costs';
export { csvOf, fileName } from './csv';
export { DeviceModel } from './device';
export {
  asNotebook,
  codeCells,
  type IExperiment,
  type INotebook,
  missingOptions,
  notebookFor,
  PARTITIONS
} from './experiment';
export {
  canBeAsked,
  correlationsTable,
  described,
  distributionTable,
  driftTable,
  explorationOf,
  type IScale,
  type ITableWords,
  labelsTable,
  missingTable,
  reasonAt,
  reasonsIn,
  scaleOf,
  withheldIn
} from './exploration';
export {
  EMPTY_CHOICE,
  EXPLORATION_MIME,
  explorationCode,
  ExplorerModel,
  ExplorerModels,
  type ExplorerTab,
  type IExplorerChoice,
  type ILook,
  restoredChoice,
  TABS as EXPLORER_TABS,
  type Wanted
} from './explorer';
export { FederationModel, type IMemory } from './federation';
export { isLive, isReady, LaunchModel } from './launches';
export { follow, linkOf } from './links';
export {
  connectedPairs,
  type IConnection,
  membersOf,
  MeshModel,
  relaysOf,
  silent,
  unconnectedPairs
} from './mesh';
export {
  cosignCommand,
  DocumentsModel,
  type IPendingDocument,
  type ProjectDocument,
  signCommands
} from './documents';
export { type IFormMemory } from './perproject';
export { ProjectModel } from './project';
export {
  checked,
  columnsOf,
  COMPARISONS,
  EMPTY_FORM,
  type Fault,
  FUNCTIONS,
  type IAnalyticsForm,
  type IColumn,
  needsBounds,
  OPERATIONS,
  operationOf,
  questionCode
} from './question';
export { ordered, type Order, Quantities } from './quantities';
export { isActive, RunModel, stopRun } from './run';
export {
  exclusionChange,
  holdersOf,
  type IExclusionWish,
  type IHolder,
  included,
  type IOutcome,
  pathOf,
  permissionName,
  resourceOf,
  RoleDraft
} from './roles';
export { SessionModel } from './session';
export { sha256 } from './sha256';
export { type RoundFigures, SimulationModel } from './simulation';
export { SimulationsModel } from './simulations';
export { type ITraining, trainingNotebook } from './training';
export { type IUploadAnswer, UPLOAD_WAITS, UploadModel, type UploadPhase } from './upload';
export {
  columnsIn,
  datasetName,
  detailsOf,
  EMPTY_UPLOAD,
  faultOf,
  faultsOf,
  type IUploadForm,
  READABLE,
  type UploadFault
} from './uploadform';
export { type IKeyCheck, type IUploadOrder, UploadsModel } from './uploads';
export {
  areaOf,
  areaText,
  badNames,
  type IMissing,
  type INodeWish,
  type IWishes,
  type IWizardMemory,
  MIXED,
  resized,
  type Step,
  STEPS,
  WizardModel
} from './wizard';
