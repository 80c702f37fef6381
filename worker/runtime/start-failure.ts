import { SlipwayError } from '#shared/errors.ts'

/**
 * Only what a runtime says of the executable itself is the command's fault; the same words about a mount, a cgroup or
 * a namespace are the host's. Runtimes have no codes for it: these are the sentences of crun 1 and runc 1.
 */
const NOT_FOUND = [/\bexecutable file (.* )?not found\b/i, /\bexec: ".*": stat .*: no such file or directory/i]
const NOT_EXECUTABLE = [
  /\bopen executable: /i,
  /\bexec: ".*": (permission denied|is a directory|exec format error|stat .*: not a directory)/i,
  /\bexec container process .*: (permission denied|is a directory|exec format error)/i,
]
const SYSCTL = [/\b(open|write)( to)?( file)? `?\/proc\/sys\//i, /`?\/proc\/sys\/[a-z0-9_/.-]+`?: invalid argument/i]

/** What a runtime said when it could not start a container, as an error. Pure. */
export function startFailure(program: string, message: string): SlipwayError {
  const why = message.trim().replaceAll('\\"', '"').replaceAll(/\s+/g, ' ').slice(0, 1000)
  const says = (sentences: RegExp[]) => sentences.some(sentence => sentence.test(why))
  if (says(NOT_FOUND)) {
    const fix = 'See that the image has it, and that it is in PATH.'
    return new SlipwayError('container.command-not-found', `The command is not there: ${why}. ${fix}`)
  }
  if (says(NOT_EXECUTABLE)) {
    const fix = 'See that it is a program, and that its user may execute it.'
    return new SlipwayError('container.command-not-executable', `The command cannot be run: ${why}. ${fix}`)
  }
  if (says(SYSCTL))
    return new SlipwayError('host.unable', `The kernel does not take a sysctl: ${why}. Give another value.`)
  return new SlipwayError('container.start-failed', `${program} could not start the container: ${why}`)
}
