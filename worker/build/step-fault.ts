import { SlipwayError } from '#shared/errors.ts'
import { asKernelError } from '#worker/host/kernel-error.ts'
import { atPlace } from '../dockerfile/fault.ts'
import { type Instruction, placeOf } from '../dockerfile/instruction.ts'

/** What the step's own files or names lead to: no fault of the host. */
const OF_ITS_FILES = new Set(['ENOTDIR', 'EISDIR', 'ELOOP', 'ENAMETOOLONG', 'ENOTEMPTY', 'EEXIST'])

/**
 * A step's fault says where in the Dockerfile it stands: at `part` of its instruction, or at the source that it is about. What begins
 * the build anew is none of the Dockerfile's.
 */
export function placed(thrown: unknown, instruction: Placed, file: string, part?: string, behind?: string): unknown {
  const error = asKernelError(thrown, 'work on the files of this step')
  if (!(error instanceof SlipwayError) || 'line' in error.facts || error.code === 'build.cache-lost') return error
  const code = isOfTheStep(error) ? 'build.step-failed' : error.code
  const { source } = error.facts
  const place = { file, ...placeOf(instruction, part ?? (typeof source === 'string' ? source : undefined), behind) }
  return new SlipwayError(code, atPlace(place, error.message), { cause: error, facts: { ...error.facts, ...place } })
}

type Placed = Pick<Instruction, 'line' | 'column' | 'source'>

/** For what is begun before its instruction's turn comes. */
export function rethrowIn(instruction: Instruction, file: string): (error: unknown) => never {
  return error => {
    throw placed(error, instruction, file)
  }
}

function isOfTheStep({ code, facts }: SlipwayError): boolean {
  return code.startsWith('container.') || (code === 'host.kernel-refused' && OF_ITS_FILES.has(String(facts.errno)))
}

/** Paths below `folders` of the host as the step knows them, from the root on. */
export function withoutHostPaths(error: unknown, folders: readonly string[]): unknown {
  if (!(error instanceof SlipwayError)) return error
  const known = (text: string) => folders.reduce((left, folder) => left.replaceAll(folder, ''), text)
  const facts = Object.entries(error.facts)
    .filter(([name]) => name !== 'args')
    .map(([name, value]) => [name, typeof value === 'string' ? known(value) : value])
  return new SlipwayError(error.code, known(error.message), { cause: error, facts: Object.fromEntries(facts) })
}
