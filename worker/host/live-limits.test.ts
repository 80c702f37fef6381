import { expect, test } from 'vitest'
import { type CgroupLimits, limitWrites } from './live-limits.ts'

const some: CgroupLimits = { memory: { limit: 100, swap: 150 }, cpu: { period: 1000, quota: 500 }, pids: { limit: 7 } }
const written = (...args: Parameters<typeof limitWrites>) =>
  limitWrites(...args).map(({ path, text }) => `${path} ${text}`)

test('one tree: swap is what comes on top of memory', () => {
  expect(written('v2', '/a/b', some, false)).toEqual([
    ...['/a/b/memory.max 100', '/a/b/memory.swap.max 50', '/a/b/cpu.max 500 1000', '/a/b/pids.max 7'],
  ])
  expect(written('v2', '/a/b', { pids: { limit: 7 } }, true)).toEqual([
    ...['/a/b/memory.max max', '/a/b/memory.swap.max max', '/a/b/cpu.max max 100000', '/a/b/pids.max 7'],
  ])
  const endless: CgroupLimits = { memory: { limit: 100, swap: -1 }, pids: { limit: 7 } }
  expect(written('v2', '/a/b', endless, false)).toContain('/a/b/memory.swap.max max')
})

test('a tree a controller: the larger of both limits of memory goes first when they grow, last when they shrink', () => {
  const [own, withSwap] = ['memory/a/memory.limit_in_bytes 100', 'memory/a/memory.memsw.limit_in_bytes 150']
  const others = ['cpu/a/cpu.cfs_period_us 1000', 'cpu/a/cpu.cfs_quota_us 500', 'pids/a/pids.max 7']
  expect(written('v1', '/a', some, true)).toEqual([withSwap, own, ...others])
  expect(written('v1', '/a', some, false)).toEqual([own, withSwap, ...others])
  expect(written('v1', '/a', { pids: { limit: 1 } }, true)).toContain('cpu/a/cpu.cfs_quota_us -1')
})
