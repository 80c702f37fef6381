import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { endpointAt } from '#test/support/network-talk.ts'
import { inNetns, makeNetns, removeNetns } from '#worker/host/netns.ts'
import { configureInside } from './links.ts'

let folder: string
let netns: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-links-'))
  mkdirSync(folder, { recursive: true })
  netns = join(folder, 'netns')
})
afterEach(async () => {
  await removeNetns(netns)
  rmSync(folder, { recursive: true, force: true })
})

const ip = (...args: string[]) => execFileSync('nsenter', [`--net=${netns}`, 'ip', ...args], { encoding: 'utf8' })

test('eth0 is found by its name, whatever the kernel put into the namespace before', async () => {
  makeNetns(netns, () => {})
  ip('link', 'add', 'tunl0', 'type', 'bridge')
  ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other')
  await configureInside(netns, endpointAt(10))
  expect(ip('-4', 'address', 'show', 'dev', 'eth0')).toContain('10.99.7.10/24')
  expect(ip('address', 'show', 'dev', 'tunl0')).not.toContain('10.99.7.10')
  expect(ip('route')).toContain('default via 10.99.7.1 dev eth0')
})

test('a namespace without eth0 is an error', async () => {
  makeNetns(netns, () => {})
  await expect(configureInside(netns, endpointAt(10))).rejects.toMatchObject({ facts: { errno: 'ENODEV' } })
  expect(inNetns(netns, () => true)).toBe(true)
})
