import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { unmountBelow } from '../host/mount.ts'
import { readMounts } from '../host/mount-table.ts'
import { openSecretFiles } from './secret-files.ts'

/** Needs root: files have owners, and lie in memory. */

const ID = 'aaaaaaaaaaaaaaaa' as ContainerId
const OTHER = 'bbbbbbbbbbbbbbbb' as ContainerId
const PLAIN = { uid: 0, gid: 0, mode: 0o444 }
const DB = { name: 'db', file: 'db', ...PLAIN }
const KEY = { name: 'key', file: 'id', uid: 5, gid: 6, mode: 0o400 }

let folder: string
let values: Record<string, string> | SlipwayError
const files = () =>
  openSecretFiles({
    folder: join(folder, 'secrets'),
    fetch: async () => {
      if (values instanceof Error) throw values
      return values
    },
  })
beforeEach(() => {
  folder = mkdtempSync('/var/tmp/slipway-secrets-')
  values = { db: 'one', key: 'two' }
})
afterEach(async () => {
  await unmountBelow(folder)
  rmSync(folder, { recursive: true, force: true })
})
const isMounted = async () => (await readMounts()).some(({ target }) => target === join(folder, 'secrets'))

test('secrets are files in memory, with owner and mode, which nobody but root reaches on the host', async () => {
  const path = (await files().prepare(ID, [DB, KEY])) ?? ''
  expect(readFileSync(join(path, 'db'), 'utf8')).toBe('one')
  const { uid, gid, mode } = statSync(join(path, 'id'))
  expect([uid, gid, mode & 0o7777]).toEqual([5, 6, 0o400])
  expect(statSync(join(path, 'db')).mode & 0o7777).toBe(0o444)
  expect(statSync(join(folder, 'secrets', ID)).mode & 0o077).toBe(0)
  expect((await readMounts()).find(({ target }) => target === join(folder, 'secrets'))?.type).toBe('tmpfs')
})

test('each start has what the store holds then, and what it held last where the API is away', async () => {
  await files().prepare(ID, [DB, KEY])
  values = { db: 'new', key: 'two' }
  const path = (await files().prepare(ID, [DB, KEY])) ?? ''
  expect(readFileSync(join(path, 'db'), 'utf8')).toBe('new')
  values = new SlipwayError('host.unreachable', 'away')
  const again = (await files().prepare(ID, [{ ...DB, file: 'other' }])) ?? '' // By another agent, with another file.
  expect(readdirSync(again)).toEqual(['other'])
  expect(readFileSync(join(again, 'other'), 'utf8')).toBe('new')
})

test('what was never fetched, or is refused, is no start', async () => {
  values = new SlipwayError('host.unreachable', 'away')
  await expect(files().prepare(ID, [DB])).rejects.toMatchObject({ code: 'host.unreachable' })
  values = { db: 'one' }
  await files().prepare(ID, [DB])
  values = new SlipwayError('secret.not-found', 'removed')
  await expect(files().prepare(ID, [DB])).rejects.toMatchObject({ code: 'secret.not-found' })
})

test('they go with their container, and the memory with the last one', async () => {
  await files().remove(ID)
  for (const id of [ID, OTHER]) await files().prepare(id, [DB])
  await files().remove(ID)
  expect(readdirSync(join(folder, 'secrets'))).toEqual([OTHER])
  expect(await files().prepare(OTHER, [])).toBeUndefined() // An update took them away.
  expect(await isMounted()).toBe(false)
})
