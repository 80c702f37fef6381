import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { openFolderBlobs } from '#control-plane/adapters/folder-blobs.ts'
import { httpForgeApi } from '#control-plane/adapters/http-forge-api.ts'
import { httpUpstreams } from '#control-plane/adapters/http-upstreams.ts'
import { migrate } from '#control-plane/adapters/migrate.ts'
import { openSqlite, type SqliteClient, type SqliteStatement } from '#control-plane/adapters/sqlite.ts'
import { readBuildPolicy } from '#control-plane/intent/build-limits.ts'
import { DeliveryRoom } from '#control-plane/intent/delivery-room.ts'
import { openSecretBox } from '#control-plane/intent/secret-box.ts'
import type { Ports } from '#control-plane/ports.ts'
import { openShare } from '#control-plane/registry/share.ts'
import { openDatabase } from '#control-plane/store/database.ts'
import type { BlobStore, BlobWriter } from '#shared/ports/blob-store.ts'
import type { Clock } from '#shared/ports/clock.ts'
import { fakeMessageBus } from '#shared/ports/message-bus.fake.ts'
import { seeded } from './seeded.ts'

export const HOUR_MS = 3_600_000

/** Runs around each call of the store and of the blob store: counts it, delays it, fails it. */
export type Hook = <T>(name: string, call: () => Promise<T>) => Promise<T>

/** A registry in memory: SQLite, a folder on tmpfs where there is one, time and chance that the test decides. */
export interface RegistryWorld extends AsyncDisposable {
  ports: Ports
  /** The same world through a hook. */
  hooked(hook: Hook): Ports
  advance(ms: number): void
  rows<T = Record<string, unknown>>(sql: string): Promise<T[]>
  /** PUTs to a signed URL; returns the answer's `ETag`. */
  send(url: string, bytes: Uint8Array): Promise<string | undefined>
  /** Keys of all objects. */
  objects(): Promise<string[]>
  /** Names of files that are on their way. */
  unfinished(): Promise<string[]>
}

export async function openRegistryWorld(seed = 1, registryGraceMs = 24 * HOUR_MS): Promise<RegistryWorld> {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'slipway-registry-'))
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const client = openSqlite(':memory:')
  undo.defer(() => client.close())
  schema ??= migratedSchema()
  await client.exec(await schema)
  let now = 1_800_000_000_000
  const clock = clockOf(
    () => now,
    ms => (now += ms),
  )
  const chance = seeded(seed)
  const random = (bytes: Uint8Array<ArrayBuffer>) => bytes.map(() => chance() * 256)
  const publicUrl = 'http://registry.test'
  const blobs = await openFolderBlobs({ folder, secret: Buffer.alloc(32), publicUrl, clock })
  const config = {
    publicUrl,
    addressPool: '10.86.0.0/16',
    registryGraceMs,
    registrySteps: 2000,
    builds: readBuildPolicy(undefined),
    buildCache: { maxBytes: 50 * 1024 ** 3, keepMs: 14 * 24 * HOUR_MS },
  }
  const bus = fakeMessageBus()
  const upstreams = httpUpstreams([], clock)
  const share = openShare()
  const note = () => {}
  const forges = httpForgeApi()
  const later = (work: () => Promise<void>) => void work()
  const secrets = openSecretBox(new Uint8Array(32), random)
  const ports: Ports = {
    db: openDatabase(client),
    blobs,
    bus,
    clock,
    random,
    config,
    upstreams,
    forges,
    secrets,
    share,
    deliveries: new DeliveryRoom(64 * 1024 ** 2),
    requireRoom: () => {},
    later,
    note,
  }
  const writers = new Set<BlobWriter>()
  undo.defer(async () => {
    for (const writer of writers) await writer.abort()
  })
  const whole = undo.move()
  return {
    ports,
    hooked: hook => ({
      ...ports,
      db: openDatabase(hookedClient(client, hook)),
      blobs: hookedBlobs(blobs, hook, writers),
    }),
    advance: ms => {
      now += ms
    },
    rows: async <T>(sql: string) => (await client.prepare(sql).all()).results as T[],
    send: (url, bytes) => {
      const { pathname, searchParams } = new URL(url)
      const key = pathname.slice('/blobs/'.length)
      return blobs.write(key, Readable.from([bytes]), blobs.verify('PUT', key, searchParams))
    },
    unfinished: () => readdir(join(folder, '.part')),
    objects: async () => (await blobs.list('blobs/')).keys,
    [Symbol.asyncDispose]: () => whole.disposeAsync(),
  }
}

let schema: Promise<string> | undefined

/** What all migrations come to, as one script: a sweep opens hundreds of worlds, and would spend a fifth of its time in migrations. */
async function migratedSchema(): Promise<string> {
  const client = openSqlite(':memory:')
  try {
    await migrate(client, join(import.meta.dirname, '../../control-plane/store/migrations'))
    const all = async (sql: string) => (await client.prepare(sql).all()).results as { name: string; sql: string }[]
    const made = await all(`select name, sql from sqlite_schema where name not like 'sqlite_%' order by rowid`)
    for (const { name, sql } of made) {
      const isEmptyTable = !/^create table/i.test(sql) || (await all(`select * from "${name}"`)).length === 0
      if (!isEmptyTable && name !== 'd1_migrations') throw new Error(`Migrations fill ${name}: the script must, too.`)
    }
    return made.map(({ sql }) => sql).join(';\n')
  } finally {
    client.close()
  }
}

/** A wait with a signal is a time-out, which never comes; one without passes at once. */
function clockOf(now: () => number, advance: (ms: number) => void): Clock {
  return {
    now,
    sleep: async (ms, signal) => {
      if (!signal) advance(ms)
      else if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
    },
  }
}

function hookedClient(client: SqliteClient, hook: Hook): SqliteClient {
  const wrap = (statement: SqliteStatement, sql: string): SqliteStatement => ({
    ...statement,
    bind: (...values) => wrap(statement.bind(...values), sql),
    run: () => hook(sql, () => statement.run()),
    all: () => hook(sql, () => statement.all()),
    raw: () => hook(sql, () => statement.raw()),
    first: () => hook(sql, () => statement.first()),
  })
  return {
    ...client,
    prepare: sql => wrap(client.prepare(sql), sql),
    batch: statements => hook('batch', () => client.batch(statements)),
  }
}

/** Writers are kept, to be closed at the end: one whose process died has nobody else. */
function hookedBlobs(blobs: BlobStore, hook: Hook, writers: Set<BlobWriter>): BlobStore {
  return {
    ...blobs,
    head: key => hook('head', () => blobs.head(key)),
    get: (key, range) => hook('get', () => blobs.get(key, range)),
    put: (key, bytes, terms) => hook('put', () => blobs.put(key, bytes, terms)),
    delete: key => hook('delete', () => blobs.delete(key)),
    parts: {
      ...blobs.parts,
      begin: key => hook('begin', () => blobs.parts.begin(key)),
      join: (key, id, tags, size) => hook('join', () => blobs.parts.join(key, id, tags, size)),
      drop: (key, id) => hook('drop', () => blobs.parts.drop(key, id)),
    },
    openWriter: (key, state) =>
      hook('openWriter', async () => {
        const writer = await blobs.openWriter(key, state)
        writers.add(writer)
        return hookedWriter(writer, hook)
      }),
  }
}

function hookedWriter(writer: BlobWriter, hook: Hook): BlobWriter {
  return {
    write: bytes => hook('write', () => writer.write(bytes)),
    suspend: () => hook('suspend', () => writer.suspend()),
    complete: () => hook('complete', () => writer.complete()),
    abort: () => hook('abort', () => writer.abort()),
  }
}
