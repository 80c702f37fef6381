import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bindMount, mountOverlay, unmountBelow } from './mount.ts'
import { mountMemory } from './mount-memory.ts'
import { readMounts } from './mount-table.ts'
import { unmountOwn } from './own-mounts.ts'
import { removeAroundMounts } from './remove-around-mounts.ts'

let root: string
let data: string
const inData = (...names: string[]) => join(data, ...names)
const mountedIn = async () =>
  (await readMounts()).map(({ target }) => target).filter(target => target === data || target.startsWith(`${data}/`))

beforeEach(() => {
  root = mkdtempSync('/var/tmp/slipway-own-mounts-')
  data = join(root, 'agent')
  mkdirSync(data)
})
afterEach(async () => {
  await unmountBelow(root)
  rmSync(root, { recursive: true })
})

const mountDisk = (place: string) => {
  mkdirSync(place, { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'disk', place])
}

/** An overlay, a folder in memory and one that is shown at two places, as an agent leaves them. */
function mountOurs(): void {
  for (const name of ['lower', 'upper', 'work', 'rootfs', 'tree', 'shown', 'memory'])
    mkdirSync(inData('x', name), { recursive: true })
  mountOverlay({
    lower: [inData('x/lower')],
    upper: inData('x/upper'),
    work: inData('x/work'),
    target: inData('x/rootfs'),
  })
  bindMount({ source: inData('x/tree'), target: inData('x/shown'), isReadOnly: false })
  mountMemory(inData('x/memory'), 1_000_000)
}

test.each([true, false])(
  "ours go, a disk of the user's stays where it is, also as the data folder itself: %s",
  async isDisk => {
    if (isDisk) mountDisk(data)
    mkdirSync(inData('lost+found'))
    mountOurs()
    const users = inData('images')
    mountDisk(users)
    writeFileSync(join(users, 'of the user'), '')
    expect(await mountedIn()).toHaveLength(isDisk ? 5 : 4)

    await unmountOwn(data)
    const staying = isDisk ? [data, users] : [users]
    expect((await mountedIn()).toSorted()).toEqual(staying)
    expect((await removeAroundMounts(data)).toSorted()).toEqual(staying)
    expect(readdirSync(data).toSorted()).toEqual(isDisk ? ['images', 'lost+found'] : ['images'])
    expect(readdirSync(users)).toEqual(['of the user'])
  },
)

test('a folder in which nothing is mounted goes whole, and one that is not there is no error', async () => {
  mkdirSync(inData('a/b'), { recursive: true })
  await unmountOwn(data)
  expect([await removeAroundMounts(data), existsSync(data)]).toEqual([[], false])
  expect(await removeAroundMounts(data)).toEqual([])
})
