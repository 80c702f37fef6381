import { z } from 'zod'
import { secretsOfBuild } from '#shared/domain/build.ts'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { AgentSecrets } from '#shared/protocol/agent.ts'
import type { CreateBuild } from '#shared/protocol/builds.ts'
import type { Ports } from '../ports.ts'
import { howItEnded, isFinished, requireBuild } from './build-view.ts'
import { openSecrets, requireSecrets } from './secrets.ts'

/** What they are sealed for. */
const sealedFor = (id: BuildId) => `build:${id}`

const givenSchema = z.record(z.string(), z.union([z.string(), z.object({ secret: z.string() })]))
const sealedSchema = z.object({ secrets: givenSchema, ssh: givenSchema })
type Given = z.infer<typeof givenSchema>

/**
 * Secrets of a request as its build keeps them until it ends: sealed, those that are kept by name as names. Null where there
 * are none. Errors: `secret.not-found`, `secret.key-missing`.
 */
export async function sealSecrets(
  ports: Ports,
  id: BuildId,
  { secrets, ssh }: Pick<CreateBuild, 'secrets' | 'ssh'>,
): Promise<string | null> {
  const given = { secrets, ssh }
  const names = namesOf(given)
  if (names.length > 0) await requireSecrets(ports, names)
  if (Object.keys(secrets).length + Object.keys(ssh).length === 0) return null
  return ports.secrets.seal(sealedFor(id), JSON.stringify(given))
}

function namesOf({ secrets, ssh }: { secrets: Given; ssh: Given }): string[] {
  return [...Object.values(secrets), ...Object.values(ssh)].flatMap(value =>
    typeof value === 'string' ? [] : [value.secret],
  )
}

/**
 * What a host may know of secrets: those of a build that it has, while that is not over. Errors: `build.not-found`,
 * `build.finished`, `secret.…`.
 */
export async function secretsForBuild(ports: Ports, hostId: HostId, id: string): Promise<AgentSecrets> {
  const { build } = await requireBuild(ports, id)
  if (build.hostId !== hostId) throw new SlipwayError('build.not-found', `This host has no build ${id}.`)
  if (isFinished(build.state))
    throw new SlipwayError('build.finished', `Build ${id} ${howItEnded(build.state)}: it needs no secret.`)
  const text = build.sealedSecrets && (await ports.secrets.open(sealedFor(build.id), build.sealedSecrets))
  const given = text ? sealedSchema.parse(JSON.parse(text)) : { secrets: {}, ssh: {} }
  const ofSource = secretsOfBuild(build.spec)
  const names = [...new Set([...ofSource, ...namesOf(given)])]
  const kept = names.length > 0 ? await openSecrets(ports, names) : new Map<string, string>()
  const textOf = (value: Given[string]) => (typeof value === 'string' ? value : (kept.get(value.secret) ?? ''))
  const values = (asked: Given) => Object.fromEntries(Object.entries(asked).map(([id, value]) => [id, textOf(value)]))
  return {
    kept: Object.fromEntries(ofSource.map(name => [name, kept.get(name) ?? ''])),
    secrets: values(given.secrets),
    ssh: values(given.ssh),
  }
}
