import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { type DatabaseReserve, diskFull } from './database-reserve.ts'

/**
 * D1's client API, as far as drizzle uses it, over one SQLite file. Everything runs synchronously below, so a batch is
 * one transaction that no other statement of this process can enter.
 */
export interface SqliteClient {
  prepare(sql: string): SqliteStatement
  batch(statements: SqliteStatement[]): Promise<SqliteResult[]>
  exec(sql: string): Promise<void>
  close(): void
}

export interface SqliteStatement {
  bind(...values: unknown[]): SqliteStatement
  run(): Promise<SqliteResult>
  all(): Promise<SqliteResult>
  raw(): Promise<unknown[][]>
  first(): Promise<Record<string, unknown> | null>
}

export interface SqliteResult {
  success: true
  results: Record<string, unknown>[]
  meta: { changes: number; last_row_id: number; duration: number }
}

const CACHED_STATEMENTS = 256
const BUSY_TIMEOUT_MS = 5000
/** https://www.sqlite.org/rescode.html: result codes, of which extended ones have more bits. */
const SQLITE_FULL = 13
/** What fails otherwise for want of room: a sync, the index of the log, a file that is to be made. */
const SQLITE_IOERR = 10
const SQLITE_CANTOPEN = 14
/** Of the reserve, for one write: a larger one is none that ends something. */
const MOST_PARTS = 4
/** What SQLite takes blocks for, of a mapped index. */
const MAPPED_PAGE = 4096
/** Filesystems as statfs(2) names them: btrfs, bcachefs, ZFS. */
const COPIED_ON_WRITE = new Set([0x9123683e, 0xca451a4e, 0x2fc12fc1])

/**
 * Opens (or makes) the file; `:memory:` for tests. WAL with `synchronous=FULL`: what was answered survives a power cut.
 * A write that finds no room is tried again with that of `reserve`. Errors of all calls: `host.disk-full`.
 */
export function openSqlite(path: string, reserve?: DatabaseReserve): SqliteClient {
  const isFull = (error: unknown) => {
    const code = resultCode(error)
    if (code === SQLITE_FULL) return true
    return (code === SQLITE_IOERR || code === SQLITE_CANTOPEN) && reserve?.isDiskFull() === true
  }
  /** Nothing of the work is done when it fails: it is one statement, or one transaction. */
  const withRoom = <T>(work: () => T, prepare = () => {}): T => {
    for (let attempt = 1; ; attempt++) {
      try {
        return work()
      } catch (error) {
        // At once, in one piece of work of this process: whoever fills the disk is to come too late for this room.
        if (attempt > MOST_PARTS || !reserve || !isFull(error) || !reserve.giveUpPart()) throw error
        prepare()
      }
    }
  }
  const database = withRoom(() => openFile(path))
  const attempt = <T>(work: () => T): T => {
    try {
      return withRoom(work, () => checkpoint(database))
    } catch (error) {
      throw isFull(error) ? diskFull(dirname(path), error) : asD1Error(error)
    }
  }
  const statements = new Map<string, StatementSync>()
  const compile = (sql: string): StatementSync => {
    const known = statements.get(sql)
    if (known) return known
    if (statements.size >= CACHED_STATEMENTS) statements.clear()
    const fresh = database.prepare(sql)
    statements.set(sql, fresh)
    return fresh
  }
  return {
    prepare: sql => statement({ compile, attempt }, sql, []),
    batch: async list =>
      attempt(() => {
        database.exec('BEGIN IMMEDIATE')
        try {
          const results = list.map(item => execute(compile, contents(item)))
          database.exec('COMMIT')
          return results
        } catch (error) {
          if (database.isTransaction) database.exec('ROLLBACK') // A full disk has ended it already.
          throw error
        }
      }),
    exec: async sql => database.exec(sql),
    close: () => database.close(),
  }
}

interface Contents {
  sql: string
  values: SQLInputValue[]
}

const CONTENTS = Symbol('sql and values')

function contents(item: SqliteStatement): Contents {
  return (item as SqliteStatement & { [CONTENTS]: Contents })[CONTENTS]
}

interface Connection {
  compile(sql: string): StatementSync
  /** Errors: those of D1, `host.disk-full`. */
  attempt<T>(work: () => T): T
}

function statement(connection: Connection, sql: string, values: SQLInputValue[]): SqliteStatement {
  const { compile, attempt } = connection
  const whole = async () => attempt(() => execute(compile, { sql, values }))
  const made: SqliteStatement & { [CONTENTS]: Contents } = {
    [CONTENTS]: { sql, values },
    bind: (...bound) => statement(connection, sql, bound.map(toSqlite)),
    run: whole,
    all: whole,
    raw: async () =>
      attempt(() => {
        const compiled = compile(sql)
        compiled.setReturnArrays(true)
        try {
          return compiled.all(...values) as unknown as unknown[][]
        } finally {
          compiled.setReturnArrays(false)
        }
      }),
    first: async () => (await whole()).results[0] ?? null,
  }
  return made
}

function execute(compile: (sql: string) => StatementSync, { sql, values }: Contents): SqliteResult {
  const begin = performance.now()
  const results = compile(sql).all(...values) as Record<string, unknown>[]
  const counts = compile('SELECT changes() AS changes, last_insert_rowid() AS id').get()
  return {
    success: true,
    results,
    meta: { changes: Number(counts?.changes), last_row_id: Number(counts?.id), duration: performance.now() - begin },
  }
}

function toSqlite(value: unknown): SQLInputValue {
  if (typeof value === 'boolean') return value ? 1 : 0
  if (value === undefined) return null
  return value as SQLInputValue
}

/** Opens the file and its log. */
function openFile(path: string): DatabaseSync {
  const database = new DatabaseSync(path)
  try {
    if (endsOnFullDisk(path)) database.exec('PRAGMA locking_mode=EXCLUSIVE')
    database.exec(`PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=${BUSY_TIMEOUT_MS}`)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

/**
 * Whether the log's index, a mapped file, could find no room when it is written: that ends the process with SIGBUS. SQLite
 * takes a block for each of its pages before, which is enough but where writes go to new blocks, or blocks are smaller. Then
 * the index is kept in memory, which leaves the database to this process alone.
 */
function endsOnFullDisk(path: string): boolean {
  if (path === ':memory:') return false
  const { type, bsize } = statfsSync(dirname(path))
  return COPIED_ON_WRITE.has(type) || bsize < MAPPED_PAGE
}

/** Moves what the log has to its place: it is written from its beginning then, where it needs no room. */
function checkpoint(database: DatabaseSync): void {
  try {
    database.exec('PRAGMA wal_checkpoint(PASSIVE)')
  } catch {
    // The database would have to grow by more than there is: what is in the log stays there.
  }
}

function resultCode(error: unknown): number | undefined {
  return error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : undefined
}

/** D1 puts SQLite's own words behind a prefix; what reads them must not care which of the two it talks to. */
function asD1Error(error: unknown): Error {
  return new Error(`D1_ERROR: ${error instanceof Error ? error.message : error}`, { cause: error })
}
