import type { Case } from './dockerfile-case.ts'

/** Advice, as `docker build --check` gives it. */
export const LINT_CASES: Case[] = [
  {
    name: 'nothing to say',
    dockerfile: 'FROM scratch AS a\nLABEL a=b\n',
    warnings: [],
    peer: '',
  },
]
