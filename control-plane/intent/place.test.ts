import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HOST_SILENT_MS } from '#shared/domain/host.ts'
import { endpointOf, freeAddress, hostSubnet, poolSize } from './addresses.ts'
import { type Candidate, chooseHost } from './place.ts'

const host = (name: string, changes: Partial<Candidate> = {}): Candidate => ({
  ...{ id: `id-${name}`, name, architecture: 'amd64', lastSeenAt: 1000, hasRoom: true, load: 0 },
  ...changes,
})
const any = { host: undefined, architecture: 'amd64', now: 1000 }

describe('placement', () => {
  test('the emptiest ready host, ties by name', () => {
    const hosts = [host('c', { load: 1 }), host('b'), host('a')]
    expect(chooseHost(hosts, any).name).toBe('a')
    expect(chooseHost(hosts, { ...any, host: 'id-c' }).name).toBe('c')
  })

  test('a full disk comes last, and is better than none', () => {
    const full = host('a', { hasRoom: false })
    expect(chooseHost([full, host('b', { load: 9 })], any).name).toBe('b')
    expect(chooseHost([full], any).name).toBe('a')
  })

  test.each([
    ['host.not-found', [host('a')], { ...any, host: 'z' }],
    ['host.none-ready', [], any],
    ['host.none-ready', [host('a', { lastSeenAt: undefined })], any],
    ['host.none-ready', [host('a')], { ...any, now: 1000 + HOST_SILENT_MS }],
    ['image.wrong-architecture', [host('a', { architecture: 'arm64' })], any],
  ])('%s', (code, hosts, wanted) => {
    expect(() => chooseHost(hosts, wanted)).toThrow(expect.objectContaining({ code }))
  })
})

describe('addresses', () => {
  test('a pool is cut into /24 subnets, the first address being the gateway', () => {
    expect(poolSize('10.86.0.0/16')).toBe(256)
    expect(hostSubnet('10.86.0.0/16', 3)).toEqual({ subnet: '10.86.3.0/24', gateway: '10.86.3.1', prefixLength: 24 })
    expect(endpointOf('10.86.0.0/16', 3, 17)).toEqual({
      ...{ address: '10.86.3.17', prefixLength: 24, gateway: '10.86.3.1', mac: '02:42:0a:56:03:11' },
    })
  })

  test('a free address is never taken, the gateway or one of the builds', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 2, max: 239 }), { maxLength: 238 }), taken => {
        const free = freeAddress(new Set(taken))
        if (taken.length === 238) expect(free).toBeUndefined()
        else expect([taken.includes(free ?? 0), (free ?? 0) >= 2, (free ?? 0) <= 239]).toEqual([false, true, true])
      }),
    )
  })
})
