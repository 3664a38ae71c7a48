const base = require('@jupyterlab/testutils/lib/jest-config')(__dirname);

// Shipped as ES modules only, which jest does not read as they are.
const esModules = [
  '@codemirror',
  '@jupyter/',
  '@jupyterlab/',
  '@marijn',
  '@microsoft',
  '@rjsf',
  'color',
  'exenv-es6',
  'lib0',
  'lodash-es',
  'marked',
  'nanoid',
  'vscode-ws-jsonrpc',
  'y-protocols',
  'y-websocket',
  'yjs'
].join('|');

module.exports = {
  ...base,
  reporters: ['default'],
  testRegex: 'src/.*\\.spec\\.tsx?$',
  transform: {
    ...base.transform,
    // ts-jest resolves a relative path against the working directory, not rootDir.
    '^.+\\.tsx?$': ['ts-jest/legacy', { tsconfig: `${__dirname}/tsconfig.test.json` }]
  },
  transformIgnorePatterns: [`/node_modules/(?!${esModules}).+`]
};
