/** Version of this half; the server half, which comes in the same wheel, has to have the same. */
export { version } from '../../package.json';
