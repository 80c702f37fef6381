import { readFileSync } from 'node:fs'

/** What a container printed, from its log (CRI's format): lines, and parts of lines that were written by themselves. */
export function printedIn(logPath: string): string {
  const entries = readFileSync(logPath, 'utf8').matchAll(/^\S+ \S+ ([FP]) (.*)$/gm)
  const text = [...entries].map(([, kind, part = '']) => (kind === 'P' ? part : `${part}\n`)).join('')
  return text.trim()
}
