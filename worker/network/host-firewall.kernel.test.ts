import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { joinHosts, type NetworkHost, openNetworkHost, type RemoteDriver } from '#test/support/network-host.ts'
import { answer, ask, endpointAt, NETWORK, newContainer, published, within } from '#test/support/network-talk.ts'

/** Hosts on which Docker, ufw and the like drop what is forwarded, by the two kinds of iptables. */

const runFolder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
let host: NetworkHost
let outside: NetworkHost
let driver: RemoteDriver
let inner: string
let outer: string
let netns: string

beforeAll(async () => {
  host = await openNetworkHost()
  outside = await openNetworkHost()
  const ends = await joinHosts(host, outside)
  inner = ends.inner
  outer = ends.outer
  driver = host.openDriver('tfw', runFolder)
  await driver.ensureHost(NETWORK)
  netns = (await driver.attach(newContainer(), endpointAt(10), [published(18_300)])).netns
  await answer(host, netns, 80, 'through')
})
afterAll(() => {
  host[Symbol.dispose]()
  outside[Symbol.dispose]()
  rmSync(runFolder, { recursive: true, force: true })
})

const shell = (line: string) => host.run('sh', '-c', line)
const marked = async (tool: string) =>
  (await host.run(tool, '-S')).split('\n').filter(line => line.includes('slipway_tfw'))
const rulesIn = (chain: string) =>
  ['-o', '-i'].map(side => `-A ${chain} ${side} slw-tfw -m comment --comment slipway_tfw -j ACCEPT`)
const passes = async () => {
  expect(await ask(outside, inner, 18_300)).toBe('through')
  await within(host, netns, 'ping', '-c', '1', '-W', '2', outer)
}

test('where nothing is dropped, nothing is added', async () => {
  await driver.ensureHost(NETWORK)
  expect(await host.run('nft', 'list', 'tables')).toBe('table inet slipway_tfw')
})

test.for(['iptables-nft', 'iptables-legacy'])(
  'a FORWARD that drops (%s) lets containers pass, and mends what is flushed',
  async (tool, { skip }) => {
    if (!(await shell(`${tool} -S`).catch(() => ''))) skip('this kernel has no such table')
    await shell(`${tool} -P FORWARD DROP`)
    expect(await ask(outside, inner, 18_300)).toBe('no answer')
    await driver.ensureHost(NETWORK)
    await passes()
    expect(await marked(tool)).toEqual(rulesIn('FORWARD'))
    await shell(`${tool} -F FORWARD`)
    for (let pass = 0; pass < 3; pass++) await driver.ensureHost(NETWORK)
    expect(await marked(tool)).toEqual(rulesIn('FORWARD'))
    await shell(`${tool} -D ${rulesIn('FORWARD')[0]?.slice(3)}; ${tool} -P FORWARD ACCEPT`)
    await driver.ensureHost(NETWORK)
    expect(await marked(tool)).toEqual([])
  },
)

test('Docker is asked in its own chain, also when it comes later, and after its rules were saved and restored', async () => {
  await shell('iptables-nft -P FORWARD DROP')
  await driver.ensureHost(NETWORK)
  await shell(
    'iptables-nft -N DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN; iptables-nft -I FORWARD -j DOCKER-USER',
  )
  await driver.ensureHost(NETWORK)
  expect(await marked('iptables-nft')).toEqual(rulesIn('DOCKER-USER'))
  await shell('iptables-nft-save > /run/netns/saved; iptables-nft-restore < /run/netns/saved; rm /run/netns/saved')
  await driver.ensureHost(NETWORK)
  expect(await marked('iptables-nft')).toEqual(rulesIn('DOCKER-USER'))
  await passes()
})

test('a firewall that cannot be changed stops nothing else, and is tried again', async () => {
  using stubborn = await openNetworkHost()
  const folder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
  const program = join(folder, 'iptables')
  writeFileSync(program, `#!/bin/sh\necho "$@" >> ${folder}/calls; [ "$3" = -S ] && echo "-P FORWARD DROP"\n`, {
    mode: 0o755,
  })
  await stubborn.run('sh', '-c', `mount --bind ${program} $(readlink -f $(command -v iptables-nft))`)
  const other = stubborn.openDriver('tstub', folder)
  for (let pass = 0; pass < 2; pass++) await other.ensureHost(NETWORK)
  await other.attach(newContainer(), endpointAt(10), [])
  expect(readFileSync(join(folder, 'calls'), 'utf8').match(/-I FORWARD/g)).toHaveLength(2)
  rmSync(folder, { recursive: true, force: true })
})

test('what is not published stays closed, and removal leaves every rule of others', async () => {
  await shell('iptables-nft -A FORWARD -i up0 -m comment --comment theirs -j ACCEPT')
  const theirs = (await host.run('iptables-nft', '-S')).split('\n').filter(line => !line.includes('slipway_tfw'))
  await answer(host, netns, 81, 'private')
  await outside.run('ip', 'route', 'add', NETWORK.subnet, 'via', inner)
  expect(await ask(outside, endpointAt(10).address, 81)).toBe('no answer')
  await driver.removeHost()
  expect((await host.run('iptables-nft', '-S')).split('\n')).toEqual(theirs)
})
