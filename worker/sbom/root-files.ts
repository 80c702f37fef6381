import { SlipwayError } from '#shared/errors.ts'
import { readFileInRoot } from '../host/rooted-fs.ts'

/** Of one file: a Debian with 4,000 packages has a status of 5 MB. */
const FILE_BYTES = 64 * 1024 * 1024

/** Reads of an image's root: what cannot be read is said, and is as if it were not there. */
export interface RootFiles {
  root: string
  signal: AbortSignal
  warnings: string[]
  /** Undefined: it is missing, too large, or no file. */
  text(path: string): Promise<string | undefined>
  warn(path: string, why: string): void
}

const MAX_WARNINGS = 20

export function openRootFiles(root: string, signal: AbortSignal): RootFiles {
  const warnings: string[] = []
  const warn = (path: string, why: string) => {
    if (warnings.length < MAX_WARNINGS) warnings.push(`The list of packages lacks ${path.slice(0, 300)}: ${why}.`)
  }
  return {
    ...{ root, signal, warnings, warn },
    text: async path => {
      signal.throwIfAborted()
      try {
        return (await readFileInRoot(root, path, FILE_BYTES))?.toString('utf8')
      } catch (error) {
        warn(path, error instanceof SlipwayError ? error.message.replace(/\.$/, '') : 'it cannot be read')
        return undefined
      }
    },
  }
}
