declare module '*/package.json' {
  export const version: string;
}

declare module '*.svg' {
  const source: string;
  export default source;
}
