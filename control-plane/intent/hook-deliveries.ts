import { isCommitId, partsOfGitUrl } from '#shared/domain/git.ts'
import { type CommitStatusTarget, hookSpecSchema } from '#shared/domain/hook.ts'
import { type BuildId, newId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { DeliveryAnswer } from '#shared/protocol/hooks.ts'
import type { Push } from '../forges/event.ts'
import { imageTags } from '../forges/image-tags.ts'
import { whyIgnored } from '../forges/push-filter.ts'
import { readEvent } from '../forges/read-event.ts'
import { type Delivery, deliveryId, requireSignature } from '../forges/signature.ts'
import { ringChanged, ringHost } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { insertCommitStatus, retellStatuses } from '../store/commit-statuses.ts'
import type { Statement } from '../store/database.ts'
import { cancelLine, findDelivered, type HookRow, insertDeliveries, staleOfLine } from '../store/hooks.ts'
import { uniqueViolation } from '../store/violations.ts'
import { sealSecrets } from './build-secrets.ts'
import { insertQueued } from './builds.ts'
import { sealedFor } from './hooks.ts'
import { placed, placeOf } from './push-places.ts'

/** A push of which the commit is known. */
type BuiltPush = Push & { commit: string }

/**
 * What comes of a delivery: a build, recorded in one batch with the delivery and the end of what it makes stale, or why there
 * is none. Nothing of it is read before its signature holds. Errors: `hook.…`, and those of placing a build.
 */
export async function takeDelivery(ports: Ports, hook: HookRow, delivery: Delivery): Promise<DeliveryAnswer> {
  const { kind, git, on, build } = hook.spec
  const secret = await ports.secrets.open(sealedFor(hook.id), hook.sealedSecret)
  await requireSignature(kind, secret, delivery, ports.clock.now())
  const event = readEvent(kind, delivery.headers, delivery.body)
  if (event.kind === 'ping') return { result: 'pong' }
  if (event.kind === 'other') return ignored(`this hook builds pushes; "${event.name}" is something else`)
  if (!isOf(git.url, event.repository)) return ignored(`the hook is for ${git.url}, not for ${event.repository}`)
  const why = whyIgnored(event, on)
  if (why !== undefined || event.commit === undefined) {
    return passOver(ports, hook, event, why ?? 'there is no commit')
  }
  const push = { ...event, commit: event.commit }
  if (!isCommitId(push.commit)) throw new SlipwayError('hook.payload-invalid', `${push.commit} is no whole commit id.`)
  const tags = imageTags(build.tags, push)
  if (tags.length === 0) {
    return passOver(ports, hook, push, `none of the hook's tags is for ${push.ref}`)
  }
  return buildOnce(ports, hook, push, tags, await deliveryKeys(hook, delivery))
}

/**
 * A forge that tries again says the same id. Its id is not signed, though, so what was sent once is known by its bytes, too:
 * pushes are never the same to the byte. Ours signs the id, and may well ask for the same twice.
 */
async function deliveryKeys({ spec: { kind } }: HookRow, { headers, body }: Delivery): Promise<string[]> {
  const id = `id:${deliveryId(kind, headers)}`
  if (kind === 'signed') return [id]
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', body))
  return [id, `body:${Array.from(hash, byte => byte.toString(16).padStart(2, '0')).join('')}`]
}

/** Another push of the ref, or the same delivery, won at the same moment: then it is looked at anew. */
const RACES = 5

async function buildOnce(
  ports: Ports,
  hook: HookRow,
  push: BuiltPush,
  tags: string[],
  keys: string[],
): Promise<DeliveryAnswer> {
  for (let race = 1; ; race++) {
    const earlier = await findDelivered(ports.db, hook.id, keys)
    if (earlier) return { result: 'building', build: earlier, isRepeat: true }
    const { isOvertaken, position } = await placeOf(ports, hook.id, push)
    if (isOvertaken) return passOver(ports, hook, push, `a newer push of ${push.ref} came before it`)
    const id = newId<BuildId>(ports.random)
    try {
      const known = insertDeliveries(ports.db, hook.id, keys, id, ports.clock.now())
      await insertBuildOf(ports, hook, push, tags, id, [known, ...placed(ports, hook.id, push, position, true)])
      return { result: 'building', build: id, isRepeat: false }
    } catch (error) {
      if (!uniqueViolation(error) || race >= RACES) throw error
    }
  }
}

/**
 * Notes a push that is not built: later judgements go through it. It may show that what was built last is old: then the newest is
 * built again.
 */
async function passOver(ports: Ports, hook: HookRow, push: Push, reason: string): Promise<DeliveryAnswer> {
  for (let race = 1; push.move; race++) {
    const { position, toBuildAgain } = await placeOf(ports, hook.id, push)
    const newestMove = toBuildAgain()
    const noted = placed(ports, hook.id, push, position, false)
    try {
      if (!newestMove) {
        for (const statement of noted) await ports.db.batch([statement])
        break
      }
      const { before, after } = newestMove
      const newest = { ...push, commit: after, move: { before, after }, paths: undefined }
      const id = newId<BuildId>(ports.random)
      const records = [...noted, ...placed(ports, hook.id, newest, position + 1, true)]
      await insertBuildOf(ports, hook, newest, imageTags(hook.spec.build.tags, newest), id, records)
      return ignored(`${reason}; it shows that ${after} is the newest, which is built again as ${id}`)
    } catch (error) {
      if (!uniqueViolation(error) || race >= RACES) throw error
    }
  }
  return ignored(reason)
}

async function insertBuildOf(
  ports: Ports,
  hook: HookRow,
  push: BuiltPush,
  tags: string[],
  id: BuildId,
  records: Statement[],
): Promise<void> {
  const { db, clock } = ports
  const { build, git } = hookSpecSchema.parse(hook.spec)
  const { host, tags: _templates, secrets, ssh, constraints, platform, cpus, memory, disk, timeout, ...how } = build
  const needs = { constraints, platform, cpus, memory, disk, timeout }
  const line = `${hook.id} ${push.ref}`
  const stale = await staleOfLine(db, line)
  const now = clock.now()
  const trigger = { hook: hook.name, ref: push.ref, commit: push.commit }
  const target = statusTarget(hook, push)
  const sealedSecrets = await sealSecrets(ports, id, { secrets, ssh })
  await insertQueued(
    ports,
    id,
    { tags, host, needs, sealedSecrets, line, trigger },
    async whole => {
      const source = { kind: 'git', ...git, ref: push.commit } as const
      return { kind: 'dockerfile', source, ...how, contexts: {}, hasSecrets: sealedSecrets !== null, tags: whole }
    },
    [
      ...records,
      ...cancelLine(db, line, now),
      retellStatuses(
        db,
        stale.map(build => build.id),
        now,
      ),
      ...(target ? [insertCommitStatus(db, id, target, now)] : []),
    ],
  )
  await ringStale(ports, stale)
}

async function ringStale(ports: Ports, stale: Awaited<ReturnType<typeof staleOfLine>>): Promise<void> {
  const hosts = new Set(stale.flatMap(({ hostId }) => (hostId === null ? [] : [hostId])))
  const ids = stale.map(({ id }) => id)
  await Promise.all([...[...hosts].map(hostId => ringHost(ports, hostId)), ringChanged(ports, 'build', ids)])
}

function statusTarget({ name, spec }: HookRow, { repository, commit }: BuiltPush): CommitStatusTarget | undefined {
  const { kind, status } = spec
  if (!status || kind === 'signed' || repository === undefined) return undefined
  return { kind, ...status, repository, commit, context: `slipway/${name}` }
}

/**
 * Whether a delivery is about the repository that the hook names: its path ends in what the forge calls it. The server is not
 * compared, which may have other names inside a network. Ours names none, and is for the hook's.
 */
function isOf(url: string, repository: string | undefined): boolean {
  if (repository === undefined) return true
  const path = partsOfGitUrl(url)
    .path.replace(/\/+$/, '')
    .replace(/\.git$/, '')
  return path.toLowerCase().endsWith(`/${repository.toLowerCase()}`)
}

function ignored(reason: string): DeliveryAnswer {
  return { result: 'ignored', reason }
}
