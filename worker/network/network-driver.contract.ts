import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type NetworkHost, openNetworkHost, type RemoteDriver } from '#test/support/network-host.ts'
import { answer, ask, endpointAt, NETWORK, newContainer, published, within } from '#test/support/network-talk.ts'

/**
 * What every NetworkDriver of a bridged network does, on a host of this suite's own. Needs root and busybox. `open`
 * opens it on that host, again as another agent would.
 */
export function describeNetwork(name: string, open: (host: NetworkHost, runFolder: string) => RemoteDriver): void {
  describe(`network: ${name}`, () => {
    const runFolder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
    let host: NetworkHost
    let driver: RemoteDriver
    let before: string
    const traces = () =>
      host.run('sh', '-c', 'ls /sys/class/net /run/netns; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward')

    beforeAll(async () => {
      host = await openNetworkHost()
      driver = open(host, runFolder)
      before = await traces()
      await driver.ensureHost(NETWORK)
    })
    afterEach(async () => {
      for (const { id } of await driver.list()) await driver.detach(id)
      expect(await driver.list()).toEqual([])
    })
    afterAll(async () => {
      await driver.removeHost()
      expect(await traces()).toBe(before)
      host[Symbol.dispose]()
      rmSync(runFolder, { recursive: true, force: true })
    })

    test('an endpoint has its address, its MAC and its way out', async () => {
      const { netns } = await driver.attach(newContainer(), endpointAt(10), [])
      const shown = await within(host, netns, 'ip', 'addr', 'show', 'eth0')
      expect(shown).toContain('10.99.7.10/24')
      expect(shown).toContain('02:42:0a:63:07:0a')
      expect(await within(host, netns, 'ip', 'route')).toContain('default via 10.99.7.1')
      await within(host, netns, 'ping', '-c', '1', '-W', '2', NETWORK.gateway)
    })

    test('a published port is reached from localhost, the host, a neighbour and itself; when it is gone, by nobody', async () => {
      const id = newContainer()
      const web = await driver.attach(id, endpointAt(10), [published(18_123)])
      const neighbour = await driver.attach(newContainer(), endpointAt(11), [])
      await answer(host, web.netns, 80, 'hello')
      expect(await ask(host, '127.0.0.1', 18_123)).toBe('hello')
      for (const netns of [undefined, neighbour.netns, web.netns])
        expect(await ask(host, NETWORK.gateway, 18_123, netns)).toBe('hello')
      await driver.detach(id)
      expect(await ask(host, '127.0.0.1', 18_123)).toBe('no answer')
    })

    test('a port published to one address is reached by that alone', async () => {
      const { netns } = await driver.attach(newContainer(), endpointAt(12), [
        published(18_124, { hostAddress: '127.0.0.1' }),
      ])
      await answer(host, netns, 80, 'local')
      expect(await ask(host, '127.0.0.1', 18_124)).toBe('local')
      expect(await ask(host, NETWORK.gateway, 18_124)).toBe('no answer')
    })

    test('a port that a process of the host holds is refused, and nothing is left', async () => {
      await answer(host, undefined, 18_125, 'mine')
      const id = newContainer()
      const attempt = driver.attach(id, endpointAt(13), [published(18_125)])
      await expect(attempt).rejects.toMatchObject({ code: 'port.taken-on-host' })
      expect(await driver.isAttached(id)).toBe(false)
    })

    test('a port of another address of the host is no clash', async () => {
      await host.run('ip', 'address', 'add', '127.0.0.53/8', 'dev', 'lo')
      const server = `require('net').createServer(client => client.end('resolver')).listen(18128, '127.0.0.53')`
      host.start(process.execPath, '-e', server)
      await expect.poll(() => host.run('busybox', 'netstat', '-ltn')).toContain('127.0.0.53:18128')
      const { netns } = await driver.attach(newContainer(), endpointAt(16), [
        published(18_128, { hostAddress: NETWORK.gateway }),
      ])
      await answer(host, netns, 80, 'container')
      expect(await ask(host, NETWORK.gateway, 18_128)).toBe('container')
      expect(await ask(host, '127.0.0.53', 18_128)).toBe('resolver')
    })

    test('attaching twice is attaching once; detaching nothing is no error', async () => {
      const id = newContainer()
      await driver.attach(id, endpointAt(14), [published(18_126)])
      const { netns } = await driver.attach(id, endpointAt(14), [published(18_126)])
      await answer(host, netns, 80, 'once')
      expect(await ask(host, '127.0.0.1', 18_126)).toBe('once')
      await driver.detach(id)
      await driver.detach(id)
      expect(await driver.isAttached(id)).toBe(false)
    })

    test('what is asked for one container at once is done in turn, and nothing is left of it', async () => {
      const id = newContainer()
      const port = [published(18_129)]
      await Promise.all([
        driver.attach(id, endpointAt(17), port),
        driver.detach(id),
        driver.attach(id, endpointAt(17), port),
        driver.detach(id),
      ])
      expect(await driver.list()).toEqual([])
      expect(await host.run('nft', 'list', 'ruleset')).not.toContain('18129')
    })

    test('many at once have a network that is made once', async () => {
      await driver.removeHost()
      await Promise.all([1, 2, 3, 4].map(() => driver.ensureHost(NETWORK)))
      await driver.attach(newContainer(), endpointAt(18), [])
    })

    test('another agent finds every endpoint', async () => {
      const id = newContainer()
      await driver.attach(id, endpointAt(15), [published(18_127)])
      using other = open(host, runFolder)
      expect(await other.list()).toMatchObject([{ id, ports: [{ hostPort: 18_127 }] }])
    })

    test('another instance sees and touches nothing of it', async () => {
      const id = newContainer()
      const { netns } = await driver.attach(id, endpointAt(19), [])
      const folder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
      using other = host.openDriver('tother', folder)
      await other.ensureHost({ subnet: '10.99.8.0/24', gateway: '10.99.8.1', prefixLength: 24 })
      expect(await other.list()).toEqual([])
      await other.removeHost()
      rmSync(folder, { recursive: true, force: true })
      await within(host, netns, 'ping', '-c', '1', '-W', '2', NETWORK.gateway)
    })
  })
}
