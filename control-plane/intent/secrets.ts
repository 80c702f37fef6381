import { SlipwayError } from '#shared/errors.ts'
import type { SecretView } from '#shared/protocol/secrets.ts'
import type { Ports } from '../ports.ts'
import { deleteSecret, findSecrets, listSecrets, type SecretRow, setSecret } from '../store/secrets.ts'
import { iso } from './container-view.ts'
import { pageByName } from './page-position.ts'

/** Keeps a text under a name, sealed. Setting it again replaces it. Errors: `secret.key-missing`. */
export async function putSecret(ports: Ports, name: string, value: string): Promise<SecretView> {
  const row = await setSecret(ports.db, name, await ports.secrets.seal(name, value), ports.clock.now())
  if (!row) throw new SlipwayError('internal', 'The store kept no secret.')
  return viewSecret(row)
}

export async function removeSecret(ports: Ports, name: string): Promise<void> {
  if (!(await deleteSecret(ports.db, name))) throw unknown(name)
}

/** What these names hold, by name. Errors: `secret.not-found`, `secret.key-missing`, `secret.key-wrong`. */
export async function openSecrets(ports: Ports, names: readonly string[]): Promise<Map<string, string>> {
  const rows = await requireSecrets(ports, names)
  const opened = rows.map(async ({ name, sealed }) => [name, await ports.secrets.open(name, sealed)] as const)
  return new Map(await Promise.all(opened))
}

/** As they are kept, sealed: whoever names a secret is told at once when there is none. Errors: `secret.not-found`. */
export async function requireSecrets(ports: Ports, names: readonly string[]): Promise<SecretRow[]> {
  const rows = await findSecrets(ports.db, names)
  const lost = names.find(name => !rows.some(row => row.name === name))
  if (lost !== undefined) throw unknown(lost)
  return rows
}

export function listSecretPage(ports: Ports, limit: number, cursor: string | undefined) {
  return pageByName(
    { limit, cursor },
    (after, count) => listSecrets(ports.db, after, count),
    viewSecret,
    ({ name }) => name,
  )
}

function viewSecret({ name, createdAt, updatedAt }: SecretRow): SecretView {
  return { name, createdAt: iso(createdAt), updatedAt: iso(updatedAt) }
}

function unknown(name: string): SlipwayError {
  return new SlipwayError('secret.not-found', `There is no secret ${name}: set it with PUT /v1/secrets/${name}.`)
}
