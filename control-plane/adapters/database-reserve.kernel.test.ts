import { execFileSync } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type DiskKind, makeDiskFile, mountDisk, unmountDisk } from '#test/support/disks.ts'
import { openDatabaseReserve } from './database-reserve.ts'
import { openSqlite } from './sqlite.ts'

/** A database on a disk that somebody else fills to the last block. */

interface Disk {
  kind: DiskKind
  mebibytes: number
  options: string[]
}
const DISKS: Disk[] = [
  { kind: 'ext4', mebibytes: 64, options: ['-b', '4096'] },
  { kind: 'ext4', mebibytes: 64, options: ['-b', '1024'] },
  { kind: 'btrfs', mebibytes: 128, options: [] },
]
let root: string
let disk: string
afterEach(async () => {
  await unmountDisk(disk)
  rmSync(root, { recursive: true })
})

/** With a table of some pages, as an API has them. */
async function openStore({ kind, mebibytes, options }: Disk) {
  root = mkdtempSync('/var/tmp/slipway-api-disk-')
  disk = join(root, 'disk')
  makeDiskFile(join(root, 'image'), kind, mebibytes, options)
  mountDisk(join(root, 'image'), disk)
  const folder = join(disk, 'api')
  mkdirSync(folder)
  const reserve = openDatabaseReserve(folder)
  await reserve.keep()
  const open = () => openSqlite(join(folder, 'slipway.db'), reserve)
  const client = open()
  await client.exec('CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT)')
  return { folder, reserve, client, open }
}

function fill(): string {
  const path = join(disk, 'filler')
  for (const size of [1024 * 1024, 4096, 512]) {
    const block = Buffer.alloc(size, 7)
    const file = openSync(path, 'a')
    try {
      for (;;) writeSync(file, block)
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' })
    } finally {
      closeSync(file)
    }
    execFileSync('sync', ['-f', disk])
  }
  return path
}

const word = 'w'.repeat(20_000)

test.each(DISKS)(
  '$kind $options: on a full disk what is small is written, what is new is refused, until there is room',
  async kind => {
    const { folder, reserve, client } = await openStore(kind)
    const insert = (text: string) => client.prepare('INSERT INTO words (word) VALUES (?)').bind(text)
    const { blocks, bsize } = statfsSync(disk)
    const kept = () =>
      readdirSync(join(folder, 'reserve')).reduce((sum, name) => sum + statSync(join(folder, 'reserve', name)).size, 0)
    expect(kept()).toBeGreaterThan(blocks * bsize * 0.015)
    await insert(word).run()
    reserve.requireRoom()
    const filler = fill()
    reserve.requireRoom() // Nobody has met the full disk yet.
    for (let count = 0; count < 20; count++)
      await client.batch([insert(word), client.prepare('DELETE FROM words WHERE id < 10')])
    expect(reserve.requireRoom).toThrow(
      expect.objectContaining({ code: 'host.disk-full', message: expect.stringContaining(folder) }),
    )
    await expect(client.batch([insert('x'), insert('y'.repeat(50_000_000))])).rejects.toMatchObject({
      code: 'host.disk-full',
    })
    expect((await client.prepare("SELECT count(*) AS count FROM words WHERE word = 'x'").all()).results).toEqual([
      { count: 0 },
    ])

    rmSync(filler)
    execFileSync('sync', ['-f', disk])
    reserve.requireRoom()
    await reserve.keep()
    await expect.poll(kept).toBeGreaterThan(blocks * bsize * 0.015)
    await insert('after').run()
    client.close()
  },
)

test.each(DISKS)('$kind $options: a database opens on a disk that is full', async kind => {
  const { client, open } = await openStore(kind)
  await client.prepare('INSERT INTO words (word) VALUES (?)').bind('before').run()
  client.close()
  fill()
  const again = open()
  await again.prepare('INSERT INTO words (word) VALUES (?)').bind('on a full disk').run()
  expect((await again.prepare('SELECT word FROM words ORDER BY id').all()).results).toEqual([
    { word: 'before' },
    { word: 'on a full disk' },
  ])
  again.close()
})
