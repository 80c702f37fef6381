import { execFile, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Endpoint } from '#shared/domain/container.ts'
import { newId } from '#shared/domain/ids.ts'
import type { NetworkDriver } from './network-driver.ts'

const execute = promisify(execFile)
/** Of this suite alone, beside whatever else runs here. */
const NETWORK = { subnet: '10.99.7.0/24', gateway: '10.99.7.1', prefixLength: 24 }
const endpoint = (last: number): Endpoint => ({
  ...{ address: `10.99.7.${last}`, prefixLength: 24, gateway: NETWORK.gateway },
  mac: `02:42:0a:63:07:${last.toString(16).padStart(2, '0')}`,
})
const newContainer = () => newId(bytes => crypto.getRandomValues(bytes))

/** What every NetworkDriver of a bridged network does. Needs root and busybox. `open` opens it again, as another agent would. */
export function describeNetwork(name: string, open: (runFolder: string) => NetworkDriver): void {
  describe(`network: ${name}`, () => {
    const runFolder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
    const driver = open(runFolder)
    const servers = new DisposableStack()

    beforeAll(() => driver.ensureHost(NETWORK))
    afterEach(async () => {
      for (const { id } of await driver.list()) await driver.detach(id)
      expect(await driver.list()).toEqual([])
    })
    afterAll(async () => {
      servers.dispose()
      await driver.removeHost()
      rmSync(runFolder, { recursive: true, force: true })
    })

    const within = (netns: string, ...command: string[]) =>
      execute('nsenter', [`--net=${netns}`, 'busybox', ...command], { timeout: 10_000 })
    /** Answers every connection to a port inside the namespace with a word. */
    const answer = async (netns: string, port: number, word: string) => {
      const args = [`--net=${netns}`, 'busybox', 'nc', '-ll', '-p', String(port), '-e', 'echo', word]
      const server = spawn('nsenter', args, { stdio: 'ignore' })
      servers.defer(() => void server.kill('SIGKILL'))
      for (let tries = 0; tries < 100; tries++) {
        const { stdout } = await within(netns, 'netstat', '-ltn')
        if (stdout.includes(`:${port} `)) return
        await new Promise(resolve => setTimeout(resolve, 20))
      }
      throw new Error(`nothing listens on ${port}`)
    }
    const ask = async (host: string, port: number) =>
      (await execute('busybox', ['nc', '-w', '3', host, String(port)], { timeout: 10_000 })).stdout.trim()
    const port = (hostPort: number, hostAddress = '0.0.0.0') =>
      ({ hostAddress, hostPort, containerPort: 80, protocol: 'tcp' }) as const

    test('an endpoint has its address, its MAC and its way out', async () => {
      const { netns } = await driver.attach(newContainer(), endpoint(10), [])
      const { stdout } = await within(netns, 'ip', 'addr', 'show', 'eth0')
      expect(stdout).toContain('10.99.7.10/24')
      expect(stdout).toContain('02:42:0a:63:07:0a')
      expect((await within(netns, 'ip', 'route')).stdout).toContain('default via 10.99.7.1')
      await within(netns, 'ping', '-c', '1', '-W', '2', NETWORK.gateway)
    })

    test('a published port is reached from localhost, the host, a neighbour and itself; when it is gone, by nobody', async () => {
      const id = newContainer()
      const web = await driver.attach(id, endpoint(10), [port(18_123)])
      const neighbour = await driver.attach(newContainer(), endpoint(11), [])
      await answer(web.netns, 80, 'hello')
      expect(await ask('127.0.0.1', 18_123)).toBe('hello')
      expect(await ask(NETWORK.gateway, 18_123)).toBe('hello')
      for (const from of [neighbour, web]) {
        const { stdout } = await within(from.netns, 'nc', '-w', '3', NETWORK.gateway, '18123')
        expect(stdout.trim()).toBe('hello')
      }
      await driver.detach(id)
      await expect(ask('127.0.0.1', 18_123)).rejects.toThrow()
    })

    test('a port published to one address is reached by that alone', async () => {
      const { netns } = await driver.attach(newContainer(), endpoint(12), [port(18_124, '127.0.0.1')])
      await answer(netns, 80, 'local')
      expect(await ask('127.0.0.1', 18_124)).toBe('local')
      await expect(ask(NETWORK.gateway, 18_124)).rejects.toThrow()
    })

    test('a port that a process of the host holds is refused, and nothing is left', async () => {
      const server = createServer()
      await new Promise<void>(resolve => server.listen(18_125, '127.0.0.1', resolve))
      try {
        const id = newContainer()
        const attempt = driver.attach(id, endpoint(13), [port(18_125)])
        await expect(attempt).rejects.toMatchObject({ code: 'port.taken-on-host' })
        expect(driver.isAttached(id)).toBe(false)
      } finally {
        server.close()
      }
    })

    test('attaching twice is attaching once; detaching nothing is no error', async () => {
      const id = newContainer()
      await driver.attach(id, endpoint(14), [port(18_126)])
      const { netns } = await driver.attach(id, endpoint(14), [port(18_126)])
      await answer(netns, 80, 'once')
      expect(await ask('127.0.0.1', 18_126)).toBe('once')
      await driver.detach(id)
      await driver.detach(id)
      expect(existsSync(netns)).toBe(false)
    })

    test('another agent finds every endpoint, and mends a table that somebody flushed', async () => {
      const id = newContainer()
      const { netns } = await driver.attach(id, endpoint(15), [port(18_127)])
      await answer(netns, 80, 'mended')
      const tables = execFileSync('nft', ['list', 'tables'], { encoding: 'utf8' })
      const [, table = ''] = /table inet (slipway_tnet)/.exec(tables) ?? []
      execFileSync('nft', ['delete', 'table', 'inet', table])
      const other = open(runFolder)
      expect(await other.list()).toMatchObject([{ id, ports: [{ hostPort: 18_127 }] }])
      await other.ensureHost(NETWORK)
      expect(await ask('127.0.0.1', 18_127)).toBe('mended')
    })
  })
}
