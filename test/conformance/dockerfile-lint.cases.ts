import type { Case } from './dockerfile-case.ts'

/** Advice, as `docker build --check` gives it. */
export const LINT_CASES: Case[] = [
  {
    name: 'nothing to say',
    dockerfile: 'FROM scratch AS a\nLABEL a=b\n',
    warnings: [],
    peer: 'none: theirs give no advice',
  },
  {
    name: 'names and cases of stages and instructions',
    dockerfile: 'FROM scratch as Base\nlabel a=b\nFROM scratch AS base\nLABEL c=d\n',
    warnings: ['1 FromAsCasing', '1 StageNameCasing', '2 ConsistentInstructionCasing', '3 DuplicateStageName'],
    log: ["WARN StageNameCasing: Stage name 'Base' should be lowercase (Dockerfile:1:17)"],
    peer: 'none: theirs give no advice',
  },
  {
    name: 'old forms',
    dockerfile: 'FROM scratch\nMAINTAINER me\nENV A b\nWORKDIR x\nCMD y\nCMD ["z"]\nEXPOSE 80/TCP\n',
    warnings: [
      ...[
        '2 MaintainerDeprecated',
        '3 LegacyKeyValueFormat',
        '4 WorkdirRelativePath',
        '5 MultipleInstructionsDisallowed',
      ],
      ...['5 JSONArgsRecommended', '7 ExposeProtoCasing'],
    ],
    peer: 'none: theirs give no advice',
  },
  {
    name: 'variables that nothing sets, and secrets where everybody can read them',
    dockerfile: 'ARG N\nFROM ${N:-busybox}\nARG FOO\nARG API_TOKEN\nLABEL a=$FOOO b=${X:-y}\nRUN echo $anything\n',
    warnings: ['4 SecretsUsedInArgOrEnv', '5 UndefinedVar'],
    peer: 'none: theirs give no advice',
  },
  {
    name: 'ARGs of FROM',
    dockerfile: 'ARG TAG\nFROM busybox:$TAG AS x\nFROM --platform=linux/amd64 $NOPE AS y\nFROM busybox\n',
    error: { code: 'build.dockerfile-invalid', says: 'names no image', line: 3 },
    peer: 'none: theirs give no advice',
  },
  {
    name: 'platforms of FROM',
    dockerfile: 'FROM --platform=$TARGETPLATFORM scratch\nLABEL a=b\nFROM --platform=linux/amd64 scratch\nLABEL a=b\n',
    warnings: ['1 RedundantTargetPlatform', '3 FromPlatformFlagConstDisallowed'],
    peer: 'none: theirs give no advice',
  },
  {
    name: 'a source that the ignore file leaves out',
    dockerfile: 'FROM scratch\nCOPY a /\n',
    make: 'touch a; echo a > .dockerignore',
    warnings: ['2 CopyIgnoredFile'],
    error: { code: 'build.source-not-found', says: 'leaves it out', line: 2 },
    peer: 'none: theirs give no advice',
  },
  {
    name: 'an empty line in an instruction, and a reserved name',
    dockerfile: 'FROM scratch AS context\nLABEL a=b \\\n\n  c=d\n',
    warnings: ['1 ReservedStageName', '2 NoEmptyContinuation'],
    peer: 'none: theirs give no advice',
  },
  {
    name: 'rules that are left out',
    dockerfile: '# check=skip=MaintainerDeprecated,LegacyKeyValueFormat\nFROM scratch\nMAINTAINER me\nENV A b\nCMD y\n',
    warnings: ['5 JSONArgsRecommended'],
    peer: 'none: theirs give no advice',
  },
  {
    name: 'all rules left out by the request',
    dockerfile: 'FROM scratch\nMAINTAINER me\n',
    request: { args: { BUILDKIT_DOCKERFILE_CHECK: 'skip=all' } },
    warnings: [],
    peer: 'none: theirs give no advice',
  },
  {
    name: 'warnings that fail the build',
    dockerfile: '# check=error=true\nFROM scratch\nMAINTAINER me\n',
    warnings: ['3 MaintainerDeprecated'],
    error: { code: 'build.warned', says: 'MaintainerDeprecated' },
    peer: 'none: theirs give no advice',
  },
  {
    name: 'a rule on trial, when it is asked for',
    dockerfile: '# check=experimental=all\n# what it is\nARG V=1\nFROM scratch\nLABEL a=b\n',
    warnings: ['3 InvalidDefinitionDescription'],
    peer: 'none: theirs give no advice',
  },
]
