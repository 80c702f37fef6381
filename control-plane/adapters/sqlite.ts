import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { SlipwayError } from '#shared/errors.ts'

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
/** https://www.sqlite.org/rescode.html */
const SQLITE_FULL = 13

/** Opens (or makes) the file; `:memory:` for tests. WAL with `synchronous=FULL`: what was answered survives a power cut. */
export function openSqlite(path: string): SqliteClient {
  const database = new DatabaseSync(path)
  database.exec(`PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=${BUSY_TIMEOUT_MS}`)
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
    prepare: sql => statement(compile, sql, []),
    batch: async list => {
      database.exec('BEGIN IMMEDIATE')
      try {
        const results = list.map(item => execute(compile, contents(item)))
        database.exec('COMMIT')
        return results
      } catch (error) {
        if (database.isTransaction) database.exec('ROLLBACK') // A full disk has ended it already.
        throw asD1Error(error)
      }
    },
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

function statement(compile: (sql: string) => StatementSync, sql: string, values: SQLInputValue[]): SqliteStatement {
  const attempt = async <T>(work: () => T): Promise<T> => {
    try {
      return work()
    } catch (error) {
      throw asD1Error(error)
    }
  }
  const whole = () => attempt(() => execute(compile, { sql, values }))
  const made: SqliteStatement & { [CONTENTS]: Contents } = {
    [CONTENTS]: { sql, values },
    bind: (...bound) => statement(compile, sql, bound.map(toSqlite)),
    run: whole,
    all: whole,
    raw: () =>
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

/** D1 puts SQLite's own words behind a prefix; what reads them must not care which of the two it talks to. */
function asD1Error(error: unknown): Error {
  if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_FULL) {
    const message = "The disk of the API's database is full: free some space, then send the request again."
    return new SlipwayError('host.disk-full', message, { cause: error })
  }
  return new Error(`D1_ERROR: ${error instanceof Error ? error.message : error}`, { cause: error })
}
