import type { HookSpec, StatusTarget } from '#shared/domain/hook.ts'
import { type HookId, newId } from '#shared/domain/ids.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { CreateHook, HookView } from '#shared/protocol/hooks.ts'
import { usualApi } from '../forges/commit-status.ts'
import { exampleTag } from '../forges/image-tags.ts'
import type { Ports } from '../ports.ts'
import { refuseUpstreamName } from '../registry/upstream-names.ts'
import { deleteHook, findHook, type HookRow, insertHook, listHooks } from '../store/hooks.ts'
import { uniqueViolation } from '../store/violations.ts'
import { wholeTag } from './builds.ts'
import { iso } from './container-view.ts'
import { type Creation, createOnce } from './idempotency.ts'
import { pageByName } from './page-position.ts'
import { newToken } from './principal.ts'
import { requireSecrets } from './secrets.ts'

/** What a hook's secret is sealed for. */
export const sealedFor = (id: HookId) => `hook:${id}`

/**
 * Makes a hook; its secret is in the answer alone. Errors: `hook.name-taken`, `secret.not-found`, `secret.key-missing`,
 * `image.reference-invalid`, `request.invalid`, `idempotency.secret-shown-once`.
 */
export async function createHook(ports: Ports, asked: CreateHook, creation: Creation) {
  const { name, secret = newToken(ports.random).slice('slw_'.length), ...rest } = asked
  const id = newId<HookId>(ports.random)
  const spec: HookSpec = { ...rest, status: statusOf(asked) }
  for (const tag of spec.build.tags)
    refuseUpstreamName(ports, parseImageReference(wholeTag(exampleTag(tag))).repository)
  const ofRun = [...Object.values(spec.build.secrets), ...Object.values(spec.build.ssh)].map(({ secret }) => secret)
  await requireSecrets(
    ports,
    [spec.git.secret, spec.status?.secret, ...ofRun].filter(named => named !== undefined),
  )
  const sealedSecret = await ports.secrets.seal(sealedFor(id), secret)
  const row: HookRow = { id, name, spec, sealedSecret, createdAt: ports.clock.now() }
  const { isReplayed } = await createOnce(ports, creation, id, record => insertNamed(ports, row, record))
  if (!isReplayed) return { ...viewHook(ports, row), secret }
  const advice = 'Remove it, and make another with another key.'
  throw new SlipwayError(
    'idempotency.secret-shown-once',
    `This hook was made by an earlier request, which alone got its secret. ${advice}`,
  )
}

async function insertNamed(ports: Ports, row: HookRow, record: Parameters<Parameters<typeof createOnce>[3]>[0]) {
  try {
    await ports.db.batch([insertHook(ports.db, row), ...record])
  } catch (error) {
    if (!uniqueViolation(error)?.includes('hooks.name')) throw error
    throw new SlipwayError(
      'hook.name-taken',
      `A hook is called ${row.name} already: choose another name, or remove that one.`,
    )
  }
}

/** Where statuses go: what was said, or where such a forge has its API. Errors: `request.invalid`. */
function statusOf({ kind, git, status }: CreateHook): StatusTarget | undefined {
  if (!status) return undefined
  if (kind === 'signed') {
    throw new SlipwayError('request.invalid', 'status: a signed hook has no forge to tell. Leave it out.')
  }
  const api = status.api ?? usualApi(kind, git.url)
  return { secret: status.secret, api: api.replace(/\/+$/, '') }
}

export async function removeHook(ports: Ports, id: string): Promise<void> {
  if (!(await deleteHook(ports.db, id))) throw unknown(id)
}

/** Errors: `hook.not-found`. */
export async function requireHook(ports: Ports, id: string): Promise<HookRow> {
  const row = await findHook(ports.db, id)
  if (row) return row
  throw unknown(id)
}

export function listHookPage(ports: Ports, limit: number, cursor: string | undefined) {
  return pageByName(
    { limit, cursor },
    (after, count) => listHooks(ports.db, after, count),
    row => viewHook(ports, row),
    ({ name }) => name,
  )
}

export function viewHook(ports: Ports, { id, name, spec, createdAt }: HookRow): HookView {
  return { id, name, url: `${ports.config.publicUrl}/hooks/${id}`, ...spec, createdAt: iso(createdAt) }
}

function unknown(id: string): SlipwayError {
  return new SlipwayError('hook.not-found', `There is no hook ${id}. GET /v1/hooks lists them.`)
}
