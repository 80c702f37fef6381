import { copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { ContainerId, HostId } from '#shared/domain/ids.ts'
import { migrate } from '../adapters/migrate.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import { findContainer, insertContainer, type NewContainer } from './containers.ts'
import { openDatabase } from './database.ts'
import { eventsAfter, insertEvents } from './events.ts'
import { deleteHost, findHost, forgetHost, hostsWithLoad, insertHost } from './hosts.ts'
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
  await forgetHost(db, busy, 2)
  expect([await findHost(db, busy), await findContainer(db, 'one')]).toEqual([undefined, undefined])
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

test('builds from before there were sources are of the contexts that they had', async () => {
  const client = openSqlite(':memory:')
  const earlier = mkdtempSync(join(tmpdir(), 'slipway-migrations-'))
  try {
    const migrations = join(import.meta.dirname, 'migrations')
    const names = readdirSync(migrations).filter(name => name.endsWith('.sql') && name < '0011')
    for (const name of names) copyFileSync(join(migrations, name), join(earlier, name))
    await migrate(client, earlier)
    const insert = `insert into builds (id, host_id, generation, spec, goal, created_at) values (?, 'h', 1, ?, 'built', 1)`
    const specs = [
      { kind: 'dockerfile', contextId: 'c', tags: ['a:1'] },
      { kind: 'tar', contextId: 'd' },
    ]
    for (const [at, spec] of specs.entries()) await client.prepare(insert).bind(`b${at}`, JSON.stringify(spec)).run()
    await migrate(client, migrations)
    const { results } = await client.prepare('select spec from builds order by id').all()
    expect(results.map(({ spec }) => JSON.parse(String(spec)))).toEqual([
      { kind: 'dockerfile', tags: ['a:1'], source: { kind: 'context', contextId: 'c' } },
      { kind: 'tar', contextId: 'd' },
    ])
  } finally {
    rmSync(earlier, { recursive: true })
    client.close()
  }
})
