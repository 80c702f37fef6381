import type { BuildSecrets } from '#shared/domain/build.ts'

/** Shorter ones would make holes in words that have nothing to do with them. */
const LEAST_LENGTH = 4

/** Takes the values of secrets out of a line, each line of one for itself: what programs print is kept and shown. Pure. */
export function withoutSecrets({ secrets, ssh }: BuildSecrets): (text: string) => string {
  const lines = [...Object.values(secrets), ...Object.values(ssh)].flatMap(value => value.split(/\r?\n/))
  const hidden = [...new Set(lines.map(line => line.trim()))].filter(line => line.length >= LEAST_LENGTH)
  // The longer first: one may hold another.
  hidden.sort((a, b) => b.length - a.length)
  return text => hidden.reduce((left, value) => left.replaceAll(value, '***'), text)
}
