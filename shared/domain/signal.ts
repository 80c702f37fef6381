import { z } from 'zod'

export const signalNameSchema = z.string().regex(/^SIG[A-Z0-9+-]{1,12}$/, 'a signal such as SIGTERM')

/** signal(7) on x86 and arm: number by name, real-time signals apart. */
const SIGNALS: Record<string, number> = {
  ...{ HUP: 1, INT: 2, QUIT: 3, ILL: 4, TRAP: 5, ABRT: 6, BUS: 7, FPE: 8, KILL: 9, USR1: 10, SEGV: 11, USR2: 12 },
  ...{ PIPE: 13, ALRM: 14, TERM: 15, STKFLT: 16, CHLD: 17, CONT: 18, STOP: 19, TSTP: 20, TTIN: 21, TTOU: 22, URG: 23 },
  ...{ XCPU: 24, XFSZ: 25, VTALRM: 26, PROF: 27, WINCH: 28, IO: 29, PWR: 30, SYS: 31 },
}
const FIRST_REAL_TIME = 34
const LAST_REAL_TIME = 64

/** `SIGTERM`, `term`, `15`, `SIGRTMIN+3`: as `SIG…` in the end. Undefined for what is no signal. */
export function signalName(text: string): string | undefined {
  const word = text.toUpperCase().replace(/^SIG/, '')
  if (Object.hasOwn(SIGNALS, word)) return `SIG${word}`
  const [, base, offset = '0'] = /^RT(MIN|MAX)(?:[+-](\d{1,2}))?$/.exec(word) ?? []
  if (base) return Number(offset) <= LAST_REAL_TIME - FIRST_REAL_TIME ? `SIG${word}` : undefined
  if (!/^\d{1,2}$/.test(word)) return undefined
  const number = Number(word)
  const named = Object.keys(SIGNALS).find(name => SIGNALS[name] === number)
  if (named) return `SIG${named}`
  if (number < FIRST_REAL_TIME || number > LAST_REAL_TIME) return undefined
  return number === FIRST_REAL_TIME ? 'SIGRTMIN' : `SIGRTMIN+${number - FIRST_REAL_TIME}`
}

/** A signal by name or number, as people write it. */
export const signalSchema = z.union([z.string().max(16), z.int()]).transform((value, context) => {
  const name = signalName(String(value))
  if (name) return name
  context.addIssue({ code: 'custom', message: `${value} is no signal: use a name such as SIGTERM, or a number` })
  return z.NEVER
})
