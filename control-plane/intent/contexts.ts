import { type ContextId, newId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ContextView } from '#shared/protocol/contexts.ts'
import type { Ports } from '../ports.ts'
import { type ContextRow, findContext, insertContext } from '../store/contexts.ts'
import { iso } from './container-view.ts'
import { type Created, type Creation, createOnce } from './idempotency.ts'

const CONTEXT_LIFE_MS = 24 * 60 * 60 * 1000
const UPLOAD_MS = 60 * 60 * 1000
export const MAX_CONTEXT_BYTES = 2 * 1024 ** 3

export function contextKey(id: ContextId): string {
  return `contexts/${id}`
}

export function createContext(ports: Ports, creation: Creation): Promise<Created<ContextId>> {
  const id = newId<ContextId>(ports.random)
  return createOnce(ports, creation, id, async record => {
    const createdAt = ports.clock.now()
    await ports.db.batch([
      insertContext(ports.db, { id, createdAt, expiresAt: createdAt + CONTEXT_LIFE_MS }),
      ...record,
    ])
  })
}

/** The URL that takes the tar, straight to the blob store. */
export async function signContextUpload(ports: Ports, id: ContextId) {
  const terms = { expiresMs: UPLOAD_MS, maxSize: MAX_CONTEXT_BYTES, mayBeLost: true }
  const upload = await ports.blobs.signUpload(contextKey(id), terms)
  return { ...upload, method: 'PUT' as const }
}

/** Errors: `context.not-found`, also for one that has expired. */
export async function requireContext(ports: Ports, id: string): Promise<ContextRow> {
  const row = await findContext(ports.db, id)
  if (row && row.expiresAt > ports.clock.now()) return row
  throw new SlipwayError(
    'context.not-found',
    `There is no context ${id}: they live for 24 hours. Make one with POST /v1/contexts.`,
  )
}

export async function viewContext(ports: Ports, row: ContextRow): Promise<ContextView> {
  const info = await ports.blobs.head(contextKey(row.id))
  return { id: row.id, isUploaded: info !== undefined, size: info?.size, expiresAt: iso(row.expiresAt) }
}
