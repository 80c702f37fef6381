import type { BuildSpecOf, BuildWarning } from '#shared/domain/build.ts'
import { SlipwayError } from '#shared/errors.ts'
import { checkOptions } from '../dockerfile/directives.ts'
import type { Dockerfile } from '../dockerfile/dockerfile.ts'
import { kept } from '../dockerfile/lint.ts'

/** Far more than anybody reads. */
const WARNINGS_LIMIT = 200

/** A warning as the log has it. */
export function sentenceOf({ rule, message, file, line, column }: BuildWarning): string {
  return `WARN ${rule}: ${message} (${file}:${line}:${column})`
}

/** Collects warnings, each once, as `# check=` or the ARG BUILDKIT_DOCKERFILE_CHECK say. */
export function openAdvice(
  { check }: Pick<Dockerfile, 'check'>,
  { args, check: isCheck = false }: Pick<BuildSpecOf<'dockerfile'>, 'args' | 'check'>,
  warn: (warnings: readonly BuildWarning[]) => void,
) {
  const given = Object.hasOwn(args, 'BUILDKIT_DOCKERFILE_CHECK') ? args.BUILDKIT_DOCKERFILE_CHECK : undefined
  const options = given === undefined ? check : checkOptions(given)
  const rules = new Set<string>()
  const seen = new Set<string>()
  return {
    add: (warnings: readonly BuildWarning[]) => {
      const fresh = kept(warnings, options).filter(warning => !seen.has(sentenceOf(warning)))
      const room = fresh.slice(0, Math.max(0, WARNINGS_LIMIT - seen.size))
      for (const warning of room) {
        seen.add(sentenceOf(warning))
        rules.add(warning.rule)
      }
      if (room.length > 0) warn(room)
    },
    /** Throws `build.warned` where warnings are to fail the build and there are any. A check goes on, to find them all. */
    refuse: () => {
      if (isCheck || !options.isError || rules.size === 0) return
      const message = `The Dockerfile is to be without warnings, and there are some: ${[...rules].join(', ')}. See the log.`
      throw new SlipwayError('build.warned', message, { facts: { rules: [...rules] } })
    },
    /** The end of a check. Throws `build.warned` where there are warnings, as `docker build --check` exits with a failure. */
    conclude: () => {
      if (rules.size === 0) return
      const message = `The check found ${seen.size === 1 ? '1 warning' : `${seen.size} warnings`}: ${[...rules].join(', ')}. See "warnings"; nothing was built.`
      throw new SlipwayError('build.warned', message, { facts: { rules: [...rules] } })
    },
  }
}
