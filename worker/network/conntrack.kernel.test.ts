import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { joinHosts, type NetworkHost, openNetworkHost, type RemoteDriver } from '#test/support/network-host.ts'
import { answer, ask, endpointAt, NETWORK, newContainer, published, within } from '#test/support/network-talk.ts'

/** A client that never stops sending from the same port, as syslog and DNS forwarders do. */

const runFolder = mkdtempSync(join(tmpdir(), 'slipway-network-'))
let host: NetworkHost
let outside: NetworkHost
let driver: RemoteDriver
let inner: string

beforeAll(async () => {
  host = await openNetworkHost()
  outside = await openNetworkHost()
  inner = (await joinHosts(host, outside)).inner
  driver = host.openDriver('tct', runFolder)
  await driver.ensureHost(NETWORK)
  const every100Ms = `setInterval(() => socket.send('word\\n', 18500, '${inner}'), 100)`
  const client = `const socket = require('dgram').createSocket('udp4').bind(40000, () => ${every100Ms})`
  outside.start(process.execPath, '-e', client)
})
afterAll(() => {
  host[Symbol.dispose]()
  outside[Symbol.dispose]()
  rmSync(runFolder, { recursive: true, force: true })
})

const syslog = [published(18_500, { protocol: 'udp', containerPort: 514 })]
/** Begins to write what a container hears on port 514 into a file. */
const hear = (netns: string, file: string) => {
  const server = `require('dgram').createSocket('udp4').on('message', text => require('fs').appendFileSync('${file}', text)).bind(514)`
  host.start('nsenter', `--net=${netns}`, process.execPath, '-e', server)
}
const heard = (file: string) => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

test('the container that has the port hears it: one that comes late, and one that comes after it', async () => {
  const ids = [newContainer(), newContainer()]
  for (const [index, id] of ids.entries()) {
    // Meanwhile the kernel keeps an entry of packets that went to the host itself.
    await expect.poll(() => host.run('cat', '/proc/net/nf_conntrack')).toContain('dport=18500')
    const file = join(runFolder, `heard-${index}`)
    const more = index === 0 ? [] : [published(18_502, { protocol: 'udp' })]
    const { netns } = await driver.attach(id, endpointAt(20 + index), [...more, ...syslog])
    hear(netns, file)
    await expect.poll(() => heard(file), { timeout: 5000 }).toContain('word')
    await driver.detach(id)
  }
})

test('whoever has the address next hears nothing that was meant for the one before', async () => {
  const id = newContainer()
  const { netns } = await driver.attach(id, endpointAt(30), syslog)
  const file = join(runFolder, 'heard-published')
  hear(netns, file)
  await expect.poll(() => heard(file), { timeout: 5000 }).toContain('word')
  await driver.detach(id)
  const next = await driver.attach(newContainer(), endpointAt(30), [])
  const nothing = join(runFolder, 'heard-next')
  hear(next.netns, nothing)
  await new Promise(resolve => setTimeout(resolve, 800))
  expect(heard(nothing)).toBe('')
})

test('its own connections go with a container, and those of others go on', async () => {
  const kept = await driver.attach(newContainer(), endpointAt(40), [published(18_501)])
  const gone = newContainer()
  const { netns } = await driver.attach(gone, endpointAt(41), syslog)
  await answer(host, kept.netns, 80, 'kept')
  expect(await ask(outside, inner, 18_501)).toBe('kept')
  await within(host, kept.netns, 'ping', '-c', '1', '-W', '2', '10.98.7.2')
  await within(host, netns, 'ping', '-c', '1', '-W', '2', '10.98.7.2')
  const entries = async (address: string) =>
    (await host.run('cat', '/proc/net/nf_conntrack')).split('\n').filter(line => line.includes(address)).length
  const before = await entries('10.99.7.40')
  expect(await entries('10.99.7.41')).toBeGreaterThan(0)
  await driver.detach(gone)
  expect(await entries('10.99.7.41')).toBe(0)
  expect(await entries('10.99.7.40')).toBe(before)
})
