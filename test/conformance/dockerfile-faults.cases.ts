import type { Case } from './dockerfile-case.ts'

const invalid = (says: string, line: number, column?: number): NonNullable<Case['error']> => ({
  ...{ code: 'build.dockerfile-invalid', says, line },
  ...(column === undefined ? {} : { column }),
})

/** Faulty ones: file, line, column and a hint. */
export const FAULT_CASES: Case[] = [
  {
    name: 'an unknown instruction, with the nearest name',
    dockerfile: 'FROM busybox\n  RNU true\n',
    error: invalid('did you mean RUN', 2, 3),
    peer: 'docker',
  },
  {
    name: 'an unknown flag, with the nearest name, on its own line',
    dockerfile: 'FROM busybox\nCOPY \\\n  --chwon=1 a b\n',
    error: invalid('did you mean --chown', 3, 3),
    peer: 'docker',
  },
  {
    name: 'a source that is not there, with what is near',
    dockerfile: 'FROM scratch\nCOPY sorce/main.c /\n',
    make: 'mkdir source; touch source/main.c',
    error: { code: 'build.source-not-found', says: 'did you mean source', line: 2, column: 6 },
    peer: 'docker',
  },
  {
    name: 'a source that the ignore file leaves out',
    dockerfile: 'FROM scratch\nCOPY dist /\n',
    make: 'mkdir dist; touch dist/x; echo dist > .dockerignore',
    error: { code: 'build.source-not-found', says: '.dockerignore leaves it out', line: 2 },
    peer: 'docker',
  },
  {
    name: 'stages in a circle',
    dockerfile: 'FROM busybox AS a\nCOPY --from=b /x /x\nFROM busybox AS b\nCOPY --from=a /x /x\n',
    error: invalid('a → b → a', 4),
    peer: 'docker',
  },
  {
    name: 'a stage that is its own source',
    dockerfile: 'FROM busybox AS a\nCOPY --from=a /x /x\n',
    error: invalid('this very stage', 2, 13),
    peer: 'docker',
  },
  {
    name: 'a target that is not there, with those that are',
    dockerfile: 'FROM scratch AS build\nLABEL a=b\n',
    request: { target: 'biuld' },
    error: {
      code: 'build.target-not-found',
      says: 'Dockerfile:1:1: The Dockerfile has no stage biuld',
      line: 1,
      column: 1,
    },
    peer: 'docker',
  },
  {
    name: 'a source that is no stage, with the nearest one',
    dockerfile: 'FROM busybox AS build\nFROM busybox\nCOPY \\\n --from=biuld a /\n',
    error: {
      code: 'image.not-found',
      says: 'Dockerfile:4:9: No stage and no context is called biuld: did you mean build?',
      line: 4,
      column: 9,
    },
    peer: 'docker',
  },
  {
    name: 'a mount from what is no stage',
    dockerfile: 'FROM busybox AS build\nFROM busybox\nRUN --mount=target=/x,from=biuld true\n',
    error: { code: 'image.not-found', says: 'did you mean build?', line: 3, column: 28 },
    peer: 'docker',
  },
  {
    name: 'a base that is no stage, with the nearest one',
    dockerfile: 'FROM busybox AS build\nFROM --platform=$TARGETPLATFORM biuld AS last\n',
    error: { code: 'image.not-found', says: 'did you mean build?', line: 2, column: 33 },
    peer: 'docker',
  },
  {
    name: 'a base that there is not',
    dockerfile: 'ARG V=9\nFROM \\\n  nowhere:$V\n',
    error: { code: 'image.not-found', says: 'Dockerfile:3:3: ', line: 3, column: 3 },
    peer: 'docker',
  },
  {
    name: 'a variable that has to be set',
    dockerfile: 'FROM scratch\nLABEL x="${V:?give a version}"\n',
    error: invalid('V is not set: give a version', 2, 10),
    peer: 'docker',
  },
  {
    name: 'a quote that is not closed',
    dockerfile: 'FROM scratch\nENV a=b c="d\n',
    error: invalid('quote is not closed', 2),
    peer: 'docker',
  },
  {
    name: 'a here-document without an end',
    dockerfile: 'FROM scratch\nRUN <<EOF\nx\n',
    error: invalid('EOF alone', 2, 1),
    peer: 'none: here-documents are refused as such',
  },
  { name: 'no FROM', dockerfile: 'RUN true\n', error: invalid('has to be FROM', 1, 1), peer: 'docker' },
  { name: 'an empty file', dockerfile: '# nothing\n', error: invalid('no instructions', 1, 1), peer: 'docker' },
  {
    name: 'a port that is none',
    dockerfile: 'FROM scratch\nEXPOSE 80 99999\n',
    error: invalid('no port', 2, 11),
    peer: 'docker',
  },
  {
    name: 'a signal that is none',
    dockerfile: 'FROM scratch\nSTOPSIGNAL SIGFOO\n',
    error: invalid('no signal', 2, 12),
    peer: 'docker',
  },
  {
    name: 'a mode that is none',
    dockerfile: 'FROM scratch\nCOPY --chmod=rw a b\n',
    error: invalid('octal', 2, 14),
    peer: 'docker',
  },
  {
    name: 'a user that the image does not have',
    dockerfile: 'FROM busybox\nCOPY --chown=nobody-here a /a\n',
    make: 'touch a',
    error: { code: 'build.step-failed', says: 'nobody-here', line: 2 },
    peer: 'buildah',
  },
]
