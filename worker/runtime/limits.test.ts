import { describe, expect, test } from 'vitest'
import { hardLimitsFrom } from '#worker/host/own-limits.ts'
import { configText } from './config-text.ts'
import { lackingLimits } from './lacking-limits.ts'
import { limitsOf, ociResources, rlimits } from './resources.ts'

const MIB = 1024 ** 2
const limited = (resources: Parameters<typeof ociResources>[0], limitsSwap = true) => {
  const { devices: _, ...rest } = ociResources(resources, new Map([['/dev/sda', { major: 8, minor: 0 }]]), limitsSwap)
  return JSON.parse(JSON.stringify(rest))
}

describe('limits as runtime-spec has them', () => {
  test.each([
    [{}, { pids: { limit: 4096 } }],
    [{ memoryBytes: MIB }, { pids: { limit: 4096 }, memory: { limit: MIB, swap: MIB } }],
    [
      { memoryBytes: MIB, memorySwap: 2 * MIB, pids: 1 },
      { pids: { limit: 1 }, memory: { limit: MIB, swap: 2 * MIB } },
    ],
    [
      { memoryBytes: MIB, memorySwap: -1 },
      { pids: { limit: 4096 }, memory: { limit: MIB, swap: -1 } },
    ],
    [{ cpus: 0.5 }, { pids: { limit: 4096 }, cpu: { period: 100_000, quota: 50_000 } }],
    [
      { cpuShares: 5, cpuQuota: 1000 },
      { pids: { limit: 4096 }, cpu: { shares: 5, quota: 1000 } },
    ],
    [
      { cpusetCpus: '0', cpusetMems: '0' },
      { pids: { limit: 4096 }, cpu: { cpus: '0', mems: '0' } },
    ],
    [
      { blkioWeight: 10, deviceReadBps: { '/dev/sda': 5 } },
      { pids: { limit: 4096 }, blockIO: { weight: 10, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 5 }] } },
    ],
  ])('%j', (resources, expected) => {
    expect(limited(resources)).toEqual(expected)
  })

  test('swap is not spoken of where the kernel counts none', () => {
    expect(limited({ memoryBytes: MIB }, false)).toEqual({ pids: { limit: 4096 }, memory: { limit: MIB } })
  })

  test('those that change while a container runs are the same ones', () => {
    expect(limitsOf({ memoryBytes: MIB, memorySwap: 2 * MIB, cpuQuota: 1000, pids: 3 })).toEqual({
      ...{ memory: { limit: MIB, swap: 2 * MIB }, cpu: { period: 100_000, quota: 1000 }, pids: { limit: 3 } },
    })
    expect(limitsOf({ cpuShares: 5 })).toEqual({ pids: { limit: 4096 } })
  })

  test('ulimits lie over the one that every container has', () => {
    expect(rlimits({}, 100)).toEqual([{ type: 'RLIMIT_NOFILE', soft: 100, hard: 100 }])
    expect(rlimits({ ulimits: { nofile: { soft: 1, hard: 2 }, core: { soft: 0, hard: -1 } } }, 100)).toEqual([
      { type: 'RLIMIT_NOFILE', soft: 1, hard: 2 },
      { type: 'RLIMIT_CORE', soft: 0, hard: -1 },
    ])
  })
})

test('no limit is a number that runtimes read, also after it was read again', () => {
  const text = configText({ rlimits: [{ soft: 5, hard: -1 }] })
  expect(text).toBe('{"rlimits":[{"soft":5,"hard":18446744073709551615}]}')
  expect(configText(JSON.parse(text))).toBe(text)
})

describe('what a host lacks', () => {
  const V2 = [
    ...['memory.max', 'memory.swap.max', 'memory.low', 'cpu.max', 'cpu.weight', 'cpuset.cpus', 'cpuset.mems'],
    ...['pids.max', 'io.max', 'io.weight'],
  ]
  test('on cgroup v2: what that version has no more, and what its kernel was not built with', () => {
    expect(Object.keys(lackingLimits('v2', new Set(V2))).sort()).toEqual(['memorySwappiness', 'oomKillDisable'])
    const bare = new Set(V2.filter(name => !name.startsWith('io.') && name !== 'memory.swap.max'))
    const lacks = lackingLimits('v2', bare)
    expect(lacks.deviceReadBps).toContain('io.max')
    expect(lacks.blkioWeight).toContain('io.weight or io.bfq.weight')
    expect(lacks.memorySwap).toContain('swapaccount=1')
  })

  test('on cgroup v1: what is in no tree', () => {
    const files = ['memory.limit_in_bytes', 'cpu.shares', 'pids.max']
    const lacks = lackingLimits('v1', new Set(files))
    for (const name of ['memory', 'cpuShares', 'pidsLimit']) expect(lacks).not.toHaveProperty(name)
    for (const name of ['memorySwap', 'cpus', 'cpusetCpus', 'blkioWeight', 'deviceReadIops'])
      expect(lacks).toHaveProperty(name)
  })
})

test("the host's own hard limits are read as setrlimit names them", () => {
  const text = [
    'Limit                     Soft Limit           Hard Limit           Units     ',
    'Max cpu time              unlimited            unlimited            seconds   ',
    'Max open files            1024                 20000                files     ',
    'Max nice priority         0                    0                    ',
  ].join('\n')
  expect(hardLimitsFrom(text)).toEqual({ cpu: -1, nofile: 20_000, nice: 0 })
})
