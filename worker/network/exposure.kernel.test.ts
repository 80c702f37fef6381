import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { joinHosts, type NetworkHost, openNetworkHost, type RemoteDriver } from '#test/support/network-host.ts'
import { answer, ask, endpointAt, NETWORK, newContainer, published, within } from '#test/support/network-talk.ts'

/** Who reaches what, seen from another machine on the same cable, which may send whatever it likes. */

const runFolder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
let host: NetworkHost
let outside: NetworkHost
let driver: RemoteDriver
let inner: string
let outer: string

beforeAll(async () => {
  host = await openNetworkHost()
  outside = await openNetworkHost()
  const ends = await joinHosts(host, outside)
  inner = ends.inner
  outer = ends.outer
  driver = host.openDriver('texp', runFolder)
  await driver.ensureHost(NETWORK)
})
afterAll(() => {
  host[Symbol.dispose]()
  outside[Symbol.dispose]()
  rmSync(runFolder, { recursive: true, force: true })
})

const settings = async (...names: string[]) =>
  (await host.run('cat', ...names.map(name => `/proc/sys/net/${name}`))).split('\n')

test('a port of 127.0.0.1 is closed to a neighbour that sends packets for 127.0.0.1', async () => {
  const port = published(18_200, { hostAddress: '127.0.0.1' })
  const { netns } = await driver.attach(newContainer(), endpointAt(10), [port])
  await answer(host, netns, 80, 'secret')
  for (const line of [
    'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet',
    'ip rule add pref 5 to 127.0.0.1 lookup 99',
    'ip rule add pref 10 lookup local',
    'ip rule del pref 0',
    `ip route add 127.0.0.1 via ${inner} dev up0 src ${outer} table 99`,
  ])
    await outside.run('sh', '-c', line)
  expect(await ask(host, '127.0.0.1', 18_200)).toBe('secret')
  expect(await ask(outside, '127.0.0.1', 18_200)).toBe('no answer')
})

test('a neighbour reaches published ports and no other', async () => {
  const { netns } = await driver.attach(newContainer(), endpointAt(11), [published(18_201)])
  await answer(host, netns, 80, 'published')
  await answer(host, netns, 81, 'private')
  await outside.run('ip', 'route', 'add', NETWORK.subnet, 'via', inner)
  expect(await ask(outside, inner, 18_201)).toBe('published')
  expect(await ask(host, endpointAt(11).address, 81)).toBe('private')
  expect(await ask(outside, endpointAt(11).address, 81)).toBe('no answer')
  await within(host, netns, 'ping', '-c', '1', '-W', '2', outer)
})

test('a build does not reach where clouds keep keys, and no private network where its host says so; a container does', async () => {
  await outside.run('ip', 'address', 'add', '169.254.169.254/32', 'dev', 'lo')
  await host.run('ip', 'route', 'add', '169.254.169.254', 'via', outer)
  await answer(outside, undefined, 85, 'reached')
  const [build, container] = [newContainer(), newContainer()]
  const ofBuild = (await driver.attach(build, endpointAt(240), [])).netns
  const ofContainer = (await driver.attach(container, endpointAt(12), [])).netns
  const reached = async () => {
    const ways = [ofBuild, ofContainer].flatMap(netns => ['169.254.169.254', outer].map(to => ask(host, to, 85, netns)))
    return (await Promise.all(ways)).map(said => said === 'reached')
  }
  expect(await reached()).toEqual([false, true, true, true])
  const strict = host.openDriver('texp', runFolder, 'public')
  await strict.ensureHost(NETWORK)
  expect(await reached()).toEqual([false, false, true, true])
  await driver.ensureHost(NETWORK)
  expect(await reached()).toEqual([false, true, true, true])
  for (const id of [build, container]) await driver.detach(id)
})

test('the host forwards for nobody else when it did not before; another engine on a bridge of its own goes on', async () => {
  {
    await using _peer = await thirdNetwork('veth')
    await host.run('busybox', 'ping', '-c', '1', '-W', '2', '10.97.7.2')
    await expect(outside.run('busybox', 'ping', '-c', '1', '-W', '1', '10.97.7.2')).rejects.toThrow()
  }
  await using _engine = await thirdNetwork('bridge')
  await host.run('ip', 'netns', 'exec', 'third-bridge', 'busybox', 'ping', '-c', '1', '-W', '2', outer)
})

test('a host that forwarded before goes on doing so, and not to containers', async () => {
  using router = await openNetworkHost()
  using left = await openNetworkHost()
  await joinHosts(router, left)
  await router.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward')
  const folder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
  const other = router.openDriver('trout', folder)
  await other.ensureHost(NETWORK)
  await router.run('sh', '-c', third('veth'))
  await left.run('ip', 'route', 'add', '10.97.7.0/24', 'via', '10.98.7.1')
  await left.run('busybox', 'ping', '-c', '1', '-W', '2', '10.97.7.2')
  const { netns } = await other.attach(newContainer(), endpointAt(10), [])
  await answer(router, netns, 81, 'private')
  await left.run('ip', 'route', 'add', NETWORK.subnet, 'via', '10.98.7.1')
  expect(await ask(router, endpointAt(10).address, 81)).toBe('private')
  expect(await ask(left, endpointAt(10).address, 81)).toBe('no answer')
  await other.removeHost()
  expect(await router.run('cat', '/proc/sys/net/ipv4/ip_forward')).toBe('1')
  rmSync(folder, { recursive: true, force: true })
})

test('the bridge speaks no IPv6, hears no router, and a container cannot reach the host by it', async () => {
  const ipv6 = 'ipv6/conf/slw-texp'
  expect(await settings(`${ipv6}/disable_ipv6`, `${ipv6}/accept_ra`)).toEqual(['1', '0'])
  const { netns } = await driver.attach(newContainer(), endpointAt(12), [])
  expect(await within(host, netns, 'ip', '-6', 'addr', 'show', 'dev', 'eth0')).toBe('')
  await within(host, netns, 'ping', '-6', '-c', '1', '-W', '2', '::1')
})

/** Another network at the host, `10.97.7.0/24`, with a machine at `.2`: a cable of its own, or an engine's bridge. */
const third = (kind: 'veth' | 'bridge') =>
  [
    `ip netns add third-${kind}`,
    `ip link add third0 type veth peer name eth0 netns third-${kind}`,
    ...(kind === 'bridge'
      ? ['ip link add br-third type bridge', 'ip link set br-third up', 'ip link set third0 master br-third']
      : []),
    `ip address add 10.97.7.1/24 dev ${kind === 'bridge' ? 'br-third' : 'third0'}`,
    'ip link set third0 up',
    `ip -n third-${kind} address add 10.97.7.2/24 dev eth0`,
    `ip -n third-${kind} link set eth0 up`,
    `ip -n third-${kind} route add default via 10.97.7.1`,
  ].join(' && ')

async function thirdNetwork(kind: 'veth' | 'bridge'): Promise<AsyncDisposable> {
  await host.run('sh', '-c', third(kind))
  await outside.run('ip', 'route', 'replace', '10.97.7.0/24', 'via', inner)
  const remove = `ip link delete third0; ip link delete br-third; ip netns delete third-${kind}`
  return { [Symbol.asyncDispose]: async () => void (await host.run('sh', '-c', `${remove}; true`)) }
}
