import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { migrate } from '../adapters/migrate.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import { insertContainer, type NewContainer } from './containers.ts'
import { openDatabase } from './database.ts'
import { eventsAfter, insertEvents } from './events.ts'
import { deleteHost, findHost, hostsWithLoad, insertHost } from './hosts.ts'
import { recordContainers } from './ingest.ts'

test('the load of a host is the number of its containers, and such a host is not deleted', async () => {
  const client = openSqlite(':memory:')
  await migrate(client, join(import.meta.dirname, 'migrations'))
  const db = openDatabase(client)
  const [busy, idle] = ['aaaaaaaaaaaaaaaa', 'bbbbbbbbbbbbbbbb'] as [HostId, HostId]
  for (const id of [busy, idle]) await insertHost(db, { id, name: id.slice(0, 3), createdAt: 1 })
  for (const [at, name] of ['one', 'two'].entries()) {
    const id = `ccccccccccccccc${'de'[at]}` as ContainerId
    const spec = { ports: [] } as unknown as NewContainer['spec']
    await insertContainer(db, {
      id,
      name,
      hostId: busy,
      spec,
      goal: { kind: 'created' },
      addressIndex: at,
      createdAt: 1,
    })
  }
  const loads = Object.fromEntries((await hostsWithLoad(db)).map(({ host, load }) => [host.id, load]))
  expect(loads).toEqual({ [busy]: 2, [idle]: 0 })
  expect(await deleteHost(db, busy)).toBe(false)
  expect(await deleteHost(db, idle)).toBe(true)
  expect(await findHost(db, busy)).toBeDefined()
  client.close()
})

test('statements with bound JSON work inside a batch', async () => {
  const client = openSqlite(':memory:')
  await migrate(client, join(import.meta.dirname, 'migrations'))
  const db = openDatabase(client)
  const id = 'aaaaaaaaaaaaaaaa' as HostId
  await db.batch([
    insertHost(db, { id, name: 'one', createdAt: 1 }),
    insertEvents(db, [
      { at: 1, type: 'host.create', subjectId: id, data: { name: 'one' } },
      { at: 2, type: 'host.join', subjectId: id, data: {} },
    ]),
    recordContainers(db, id, [
      { id: 'bbbbbbbbbbbbbbbb' as ContainerId, generation: 1, observedAt: 1, restarts: 0, status: { state: 'absent' } },
    ]),
  ])
  expect(await findHost(db, 'one')).toMatchObject({ id, subnetIndex: 0 })
  expect(await eventsAfter(db, 0, { type: 'host' }, 10)).toMatchObject([
    { seq: 1, type: 'host.create', data: { name: 'one' } },
    { seq: 2, type: 'host.join' },
  ])
  client.close()
})
