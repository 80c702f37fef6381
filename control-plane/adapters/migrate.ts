import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SqliteClient } from './sqlite.ts'

/**
 * Applies migrations that a store has not seen, each in one transaction with the row that remembers it. The table is
 * wrangler's own, so `wrangler d1 migrations apply` and this agree on a file.
 */
export async function migrate(client: SqliteClient, folder: string): Promise<void> {
  await client.exec(`CREATE TABLE IF NOT EXISTS d1_migrations(
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE,
    applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`)
  const { results } = await client.prepare('SELECT name FROM d1_migrations').all()
  const applied = new Set(results.map(({ name }) => name))
  const files = readdirSync(folder).filter(name => name.endsWith('.sql'))
  for (const name of files.sort()) {
    if (applied.has(name)) continue
    const statements = readFileSync(join(folder, name), 'utf8').split('--> statement-breakpoint')
    await client.batch([
      ...statements.map(sql => client.prepare(sql)),
      client.prepare('INSERT INTO d1_migrations (name) VALUES (?)').bind(name),
    ])
  }
}
