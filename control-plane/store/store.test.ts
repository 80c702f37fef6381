import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { migrate } from '../adapters/migrate.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import { openDatabase } from './database.ts'
import { eventsAfter, insertEvents } from './events.ts'
import { findHost, insertHost } from './hosts.ts'
import { recordContainers } from './ingest.ts'

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
