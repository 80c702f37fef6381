import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { HealthCheck, HealthPlan, HealthProbe, HealthResult } from '#shared/domain/health.ts'
import type { ImageDefaults } from '#shared/domain/image.ts'
import { afterCheck, healthPlan, healthSince, planChecks } from './health.ts'

const usual = { intervalMs: 30_000, timeoutMs: 30_000, startPeriodMs: 0, startIntervalMs: 5000, retries: 3 }
const command = (...args: string[]): HealthProbe => ({ kind: 'command', args })

describe('what is checked', () => {
  const ofImage = { Healthcheck: { Test: ['CMD-SHELL', 'up'], Interval: 2e9, Retries: 5 } }

  const cases: [string, HealthCheck | undefined, ImageDefaults, HealthPlan | undefined][] = [
    ['nobody says anything', undefined, {}, undefined],
    [
      'the image',
      undefined,
      ofImage,
      { ...usual, probe: command('/bin/sh', '-c', 'up'), intervalMs: 2000, retries: 5 },
    ],
    [
      'the image, in its shell',
      undefined,
      { ...ofImage, Shell: ['ash', '-ec'] },
      { ...usual, probe: command('ash', '-ec', 'up'), intervalMs: 2000, retries: 5 },
    ],
    ['the image, which says none', undefined, { Healthcheck: { Test: ['NONE'] } }, undefined],
    ['the container says none', { kind: 'none' }, ofImage, undefined],
    [
      'its own times, the image’s test',
      { kind: 'check', intervalMs: 700 },
      ofImage,
      { ...usual, probe: command('/bin/sh', '-c', 'up'), intervalMs: 700, retries: 5 },
    ],
    [
      'its own test',
      { kind: 'check', probe: { kind: 'tcp', port: 1 } },
      {},
      { ...usual, probe: { kind: 'tcp', port: 1 } },
    ],
    [
      'checks too often',
      { kind: 'check', intervalMs: 1, startIntervalMs: 1, probe: { kind: 'tcp', port: 1 } },
      {},
      { ...usual, probe: { kind: 'tcp', port: 1 }, intervalMs: 100, startIntervalMs: 100 },
    ],
    ['no test at all', { kind: 'check', intervalMs: 7 }, {}, undefined],
  ]
  test.each(cases)('%s', (_name, own, image, plan) => {
    expect(healthPlan(own, image)).toEqual(plan)
  })
})

const plan: HealthPlan = { ...usual, probe: command('x'), startPeriodMs: 10_000, startIntervalMs: 1000, retries: 2 }
const check = (startedAt: number, exitCode: number): HealthResult => ({
  startedAt,
  finishedAt: startedAt + 10,
  exitCode,
  output: '',
})
const checked = (...results: HealthResult[]) =>
  results.reduce((state, result) => afterCheck(plan, state, result), healthSince(1000, plan, undefined))

describe('what checks make of it', () => {
  test('failures of the start period do not count; checks come often until then', () => {
    expect(healthSince(1000, plan, undefined)).toMatchObject({ status: 'starting', nextAt: 2000 })
    expect(checked(check(2000, 1))).toMatchObject({ status: 'starting', failingStreak: 0, nextAt: 3010 })
    expect(checked(check(10_995, 1))).toMatchObject({ status: 'starting', failingStreak: 0, nextAt: 41_005 })
    expect(checked(check(11_000, 1), check(50_000, 1))).toMatchObject({ status: 'unhealthy', failingStreak: 2 })
  })

  test('one success makes it healthy, and from then on failures count', () => {
    expect(checked(check(2000, 0))).toMatchObject({ status: 'healthy', nextAt: 32_010 })
    expect(checked(check(2000, 0), check(3000, 1))).toMatchObject({ status: 'healthy', failingStreak: 1 })
    const down = checked(check(2000, 0), check(3000, 1), check(4000, 7))
    expect(down).toMatchObject({ status: 'unhealthy', failingStreak: 2, lastFailure: { exitCode: 7 } })
    expect(afterCheck(plan, down, check(5000, 0))).toMatchObject({ status: 'healthy', failingStreak: 0 })
  })

  test('the last five are kept, and another process begins anew', () => {
    const state = checked(...[1, 2, 3, 4, 5, 6, 7].map(code => check(20_000, code)))
    expect(state.log.map(({ exitCode }) => exitCode)).toEqual([3, 4, 5, 6, 7])
    expect(healthSince(1000, plan, state)).toBe(state)
    expect(healthSince(1001, plan, state)).toMatchObject({ status: 'starting', log: [] })
  })
})

test('whatever is due, no more checks are under way than there is room for, and none is forgotten', () => {
  const due = fc.record({ nextAt: fc.nat(100), isUnderWay: fc.boolean() })
  const many = fc.array(due, { maxLength: 30 }).map(list => list.map((one, at) => ({ ...one, id: String(at) })))
  fc.assert(
    fc.property(many, fc.nat(100), fc.nat(8), (checks, now, room) => {
      const { begin, lookAgainAt } = planChecks(checks, now, room)
      expect(begin.length).toBeLessThanOrEqual(room)
      const begun = checks.filter(({ id }) => begin.includes(id))
      const left = checks.filter(({ id, isUnderWay }) => !isUnderWay && !begin.includes(id))
      expect(begun.every(({ nextAt, isUnderWay }) => nextAt <= now && !isUnderWay)).toBe(true)
      // None that waits has waited longer than one that was begun.
      const latest = Math.max(-1, ...begun.map(({ nextAt }) => nextAt))
      expect(left.every(({ nextAt }) => nextAt >= latest)).toBe(true)
      if (begin.length < room) {
        expect(left.every(({ nextAt }) => nextAt > now)).toBe(true)
        expect(lookAgainAt).toBe(left.length > 0 ? Math.min(...left.map(({ nextAt }) => nextAt)) : undefined)
      }
    }),
  )
})
