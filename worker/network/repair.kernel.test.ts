import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type NetworkHost, openNetworkHost, type RemoteDriver } from '#test/support/network-host.ts'
import { answer, ask, endpointAt, NETWORK, newContainer, published, within } from '#test/support/network-talk.ts'

/** What an operator, another program or an upgrade may do to the network of a container that runs: a pass mends it. */

const runFolder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
const id = newContainer()
const veth = `slw${id.slice(0, 12)}`
let host: NetworkHost
let driver: RemoteDriver
let netns: string

beforeAll(async () => {
  host = await openNetworkHost()
  driver = host.openDriver('trep', runFolder)
  await driver.ensureHost(NETWORK)
  netns = (await driver.attach(id, endpointAt(10), [published(18_400)])).netns
  await answer(host, netns, 80, 'whole')
})
beforeEach(() => driver.ensureHost(NETWORK))
afterAll(() => {
  host[Symbol.dispose]()
  rmSync(runFolder, { recursive: true, force: true })
})

const shell = (line: string) => host.run('sh', '-c', line)
const isWhole = async () => {
  expect(await ask(host, '127.0.0.1', 18_400)).toBe('whole')
  expect(await ask(host, NETWORK.gateway, 18_400, netns)).toBe('whole')
  await within(host, netns, 'ping', '-c', '1', '-W', '2', NETWORK.gateway)
}

const PORT = 'element inet slipway_trep published_any'
test.each([
  ['the bridge removed', 'ip link delete slw-trep'],
  ['the bridge down', 'ip link set slw-trep down'],
  ["the bridge's address removed", 'ip address flush dev slw-trep'],
  ['a link taken off the bridge', `ip link set ${veth} nomaster`],
  ['a link removed', `ip link delete ${veth}`],
  ['the table flushed', 'nft flush table inet slipway_trep'],
  ['the table removed', 'nft delete table inet slipway_trep'],
  ['every rule of the host flushed', 'nft flush ruleset'],
  ['a chain flushed', 'nft flush chain inet slipway_trep postrouting'],
  ['a port taken away', `nft "delete ${PORT} { tcp . 18400 }"`],
  ['a port turned to another', `nft "delete ${PORT} { tcp . 18400 }; add ${PORT} { tcp . 18400 : 10.99.7.77 . 80 }"`],
  ['route_localnet off', 'echo 0 > /proc/sys/net/ipv4/conf/slw-trep/route_localnet'],
  ['forwarding off', 'echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/slw-trep/forwarding'],
])('%s: the next pass mends it', async (_name, harm) => {
  await isWhole()
  await shell(harm)
  await driver.ensureHost(NETWORK)
  await isWhole()
  expect(await shell('cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/slw-trep/disable_ipv6')).toBe('1\n1')
})

test('a pass that finds all well changes nothing', async () => {
  await driver.ensureHost(NETWORK)
  const before = await shell('nft -a list ruleset; ip address; bridge link')
  await driver.ensureHost(NETWORK)
  expect(await shell('nft -a list ruleset; ip address; bridge link')).toBe(before)
})

test('a link that cannot be mended keeps no other container from the network', async () => {
  const stuck = newContainer()
  const inside = (await driver.attach(stuck, endpointAt(11), [])).netns
  await shell(`ip link delete slw${stuck.slice(0, 12)}; nsenter --net=${inside} ip link add eth0 type bridge`)
  await shell('nft flush table inet slipway_trep')
  await driver.ensureHost(NETWORK)
  await isWhole()
  await driver.detach(stuck)
})

test('a port that nobody owns is taken away', async () => {
  await shell(`nft "add ${PORT} { udp . 514 : 10.99.7.66 . 514 }"`)
  await driver.ensureHost(NETWORK)
  expect(await host.run('nft', 'list', 'ruleset')).not.toContain('10.99.7.66')
})

test("an upgraded agent's rules hold from its first pass", async () => {
  await shell('nft insert rule inet slipway_trep forward ip daddr 10.1.1.1 drop')
  await driver.kill()
  driver = host.openDriver('trep', runFolder)
  await driver.ensureHost(NETWORK)
  expect(await host.run('nft', 'list', 'ruleset')).not.toContain('10.1.1.1')
  await isWhole()
})

test('another subnet replaces address and rules of the old one', async () => {
  const other = { subnet: '10.99.9.0/24', gateway: '10.99.9.1', prefixLength: 24 }
  await driver.ensureHost(other)
  expect(await host.run('ip', '-4', 'address', 'show', 'dev', 'slw-trep')).not.toContain('10.99.7.1')
  const rules = await host.run('nft', 'list', 'ruleset')
  expect(rules).toContain(other.subnet)
  expect(rules).not.toContain(NETWORK.subnet)
})
