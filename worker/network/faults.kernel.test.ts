import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NetworkHost, openNetworkHost, type RemoteDriver } from '#test/support/network-host.ts'
import { answer, ask, endpointAt, NETWORK, newContainer, published } from '#test/support/network-talk.ts'

/** What a `kill -9` or a failure between any two steps of attaching and detaching may leave, and that it goes. */

const runFolder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
const PORT = 18_600
let host: NetworkHost
let driver: RemoteDriver
let clean: string

beforeAll(async () => {
  host = await openNetworkHost()
  mkdirSync(join(runFolder, 'attachments'))
  driver = host.openDriver('tflt', runFolder)
  await driver.ensureHost(NETWORK)
  clean = await traces()
})
afterAll(() => {
  host[Symbol.dispose]()
  rmSync(runFolder, { recursive: true, force: true })
})

const shell = (line: string) => host.run('sh', '-c', line)
const traces = () => shell(`ls /sys/class/net /run/netns ${runFolder}/attachments 2>/dev/null; nft list ruleset`)
/** Another agent on the same host; the first one is gone without a word. */
const succeed = async () => {
  await driver.kill()
  driver = host.openDriver('tflt', runFolder)
}

/** How each thing that an attachment is made of goes away by itself. */
const TAKE_AWAY: Record<string, (id: string) => string> = {
  file: id => `rm ${runFolder}/attachments/${id}`,
  element: () => `nft delete element inet slipway_tflt published_any { tcp . ${PORT} }`,
  veth: id => `ip link delete slw${id.slice(0, 12)}`,
  netns: id => `umount /run/netns/slw-tflt-${id} && rm /run/netns/slw-tflt-${id}`,
}
const parts = Object.keys(TAKE_AWAY)
const subsets = Array.from({ length: 2 ** parts.length }, (_, bits) =>
  parts.filter((_part, index) => bits & (1 << index)),
)

/** A process of the container keeps its namespace, and so the link, when the name of the namespace is gone. */
async function leave(kept: readonly string[]): Promise<string> {
  const id = newContainer()
  const { netns } = await driver.attach(id, endpointAt(10), [published(PORT)])
  host.start('nsenter', `--net=${netns}`, 'sleep', '600')
  await expect.poll(() => shell(`ip netns pids slw-tflt-${id}`)).not.toBe('')
  for (const part of parts.filter(name => !kept.includes(name))) await shell(TAKE_AWAY[part]?.(id) ?? 'false')
  return id
}

describe('whatever is left', () => {
  test.each(subsets.map(kept => [kept.join(', ') || 'nothing', kept] as const))('%s', async (_name, kept) => {
    const id = await leave(kept)
    await succeed()
    await driver.ensureHost(NETWORK)
    const isOwned = kept.includes('file') || kept.includes('netns')
    expect((await driver.list()).map(item => item.id)).toEqual(isOwned ? [id] : [])
    expect(await driver.isAttached(id)).toBe(isOwned)
    // A pass alone takes away what has no owner; what has one goes with it.
    for (const item of await driver.list()) await driver.detach(item.id)
    expect(await traces()).toBe(clean)
  })

  test('an empty file where a namespace was to be', async () => {
    const id = newContainer()
    await shell(`touch /run/netns/slw-tflt-${id}`)
    expect(await driver.list()).toMatchObject([{ id }])
    await driver.detach(id)
    expect(await traces()).toBe(clean)
  })

  test.each(subsets.map(kept => [kept.join(', ') || 'nothing', kept] as const))(
    '%s: attaching again makes it whole',
    async (_name, kept) => {
      const id = await leave(kept)
      await succeed()
      await driver.ensureHost(NETWORK)
      const { netns } = await driver.attach(id, endpointAt(10), [published(PORT)])
      await answer(host, netns, 80, 'again')
      expect(await ask(host, '127.0.0.1', PORT)).toBe('again')
      await driver.detach(id)
      expect(await traces()).toBe(clean)
    },
  )
})

describe('a step that fails', () => {
  test.each([
    ['the namespace', (id: string) => mkdirSync(join('/proc', String(host.pid), 'root/run/netns', `slw-tflt-${id}`))],
    ['the link', () => shell('ip link delete slw-tflt')],
    ['publishing', () => shell(`nft add element inet slipway_tflt published_any { tcp . ${PORT} : 10.99.7.99 . 80 }`)],
    ['the file', (id: string) => mkdirSync(join(runFolder, 'attachments', id))],
  ])('%s: nothing of the others is left', async (name, harm) => {
    const id = newContainer()
    await harm(id)
    await expect(driver.attach(id, endpointAt(10), [published(PORT)])).rejects.toThrow()
    await shell(`rm -rf ${runFolder}/attachments/${id}; rmdir /run/netns/slw-tflt-${id} 2>/dev/null; true`)
    await driver.detach(id)
    await driver.ensureHost(NETWORK)
    expect(await traces(), name).toBe(clean)
  })
})

describe('an agent that is killed', () => {
  test.each([0, 1, 2, 4, 6, 8, 12, 16, 24])(
    '%i ms into attaching and detaching leaves what the next one removes',
    async ms => {
      const ids = [newContainer(), newContainer()]
      await driver.attach(ids[0] ?? '', endpointAt(10), [published(PORT)])
      const work = [driver.detach(ids[0] ?? ''), driver.attach(ids[1] ?? '', endpointAt(11), [published(PORT + 1)])]
      const settled = Promise.allSettled(work)
      await new Promise(resolve => setTimeout(resolve, ms))
      await succeed()
      await settled
      await driver.ensureHost(NETWORK)
      for (const item of await driver.list()) await driver.detach(item.id)
      expect(await traces()).toBe(clean)
    },
  )
})

test('a file that is none of ours in the folders is left alone', async () => {
  writeFileSync(join(runFolder, 'attachments', 'README'), '')
  await shell('ip netns add slw-other; ip link add slwbr type bridge')
  await driver.ensureHost(NETWORK)
  expect(await driver.list()).toEqual([])
  expect(await traces()).toContain('slw-other')
  expect(await traces()).toContain('slwbr')
})
