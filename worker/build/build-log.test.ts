import { expect, test } from 'vitest'
import type { BuildLogLine } from '#shared/protocol/agent.ts'
import { openBuildLog } from './build-log.ts'

function opened() {
  const lines: BuildLogLine[] = []
  const clock = { at: 0 }
  const log = openBuildLog({ send: line => lines.push(line) }, () => clock.at)
  return { lines, clock, log, never: new AbortController().signal }
}

const shown = (lines: BuildLogLine[]) => lines.map(({ step, mark, text }) => [step, mark, text])

test('each line is of its step, and the end says how it ended', async () => {
  const { lines, clock, log, never } = opened()
  const gate = Promise.withResolvers<void>()
  const one = log.step('one', never, async own => {
    await gate.promise
    own.write('stdout', 'a')
    clock.at = 3200
  })
  await log.step('two', never, async own => own.cached())
  gate.resolve()
  await one
  await expect(log.step('three', never, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken')
  await expect(log.step('four', AbortSignal.abort(), () => Promise.reject(new Error('x')))).rejects.toThrow('x')
  log.write('step', 'built')
  expect(shown(lines)).toEqual([
    [1, 'begin', 'one'],
    [2, 'begin', 'two'],
    [2, 'cached', 'CACHED'],
    [1, undefined, 'a'],
    [1, 'done', 'DONE 3.2s'],
    [3, 'begin', 'three'],
    [3, 'failed', expect.stringMatching(/^ERROR: /)],
    [4, 'begin', 'four'],
    [4, 'canceled', 'CANCELED'],
    [undefined, undefined, 'built'],
  ])
  expect(lines[4]?.durationMs).toBe(3200)
})

test('of steps that end together, the one whose fault it is failed, and the others are canceled', async () => {
  const { lines, log } = opened()
  const fault = new Error('not there')
  const failing = () => Promise.reject(fault)
  await log.step('one', AbortSignal.abort(), failing, error => error === fault).catch(() => {})
  await log.step('two', AbortSignal.abort(), failing).catch(() => {})
  expect(lines.flatMap(({ mark }) => (mark === 'begin' ? [] : [mark]))).toEqual(['failed', 'canceled'])
})

test('how long a step took is its own time: without waits, however they overlap', async () => {
  const { lines, clock, log, never } = opened()
  await log.step('one', never, async own => {
    clock.at = 100
    const [first, second] = [own.waits(), own.waits()]
    clock.at = 1100
    first()
    first()
    clock.at = 2100
    second()
    clock.at = 2400
  })
  expect(lines.at(-1)).toMatchObject({ at: 2400, text: 'DONE 0.4s', durationMs: 400 })
  await log
    .step('two', AbortSignal.abort(), own => {
      own.waits()
      clock.at = 9400
      return Promise.reject(new Error('given up'))
    })
    .catch(() => {})
  expect(lines.at(-1)).toMatchObject({ mark: 'canceled', durationMs: 0 })
})

test('endless output is clipped with a mark, for its step alone, and the end still comes', async () => {
  const { lines, log, never } = opened()
  await log.step('endless', never, async own => {
    let count = 0
    while (!own.isFull() && count++ < 10_000) own.write('stdout', 'x'.repeat(1000))
    own.write('stdout', 'unseen')
  })
  const chars = lines.reduce((sum, { text }) => sum + text.length, 0)
  expect(chars).toBeGreaterThan(2_000_000)
  expect(chars).toBeLessThan(2_100_000)
  expect(lines.at(-2)?.text).toBe('[output clipped: 2 MiB of a step are kept]')
  expect(lines.at(-1)?.mark).toBe('done')
  await log.step('next', never, async own => own.write('stdout', 'seen'))
  expect(lines.at(-2)?.text).toBe('seen')
})

test('short lines of many steps leave room for the ends of steps', async () => {
  const { lines, log, never } = opened()
  for (const label of ['a', 'b']) {
    await log.step(label, never, async own => {
      for (let at = 0; at < 40_000; at++) own.write('stdout', '')
    })
  }
  expect(lines.length).toBeLessThan(46_000)
  expect(lines.at(-2)?.text).toBe('[output clipped: 45000 lines of a build are kept]')
  expect(lines.at(-1)?.mark).toBe('done')
})

test('progress is said now and then, and more seldom the longer it takes', async () => {
  const { lines, clock, log, never } = opened()
  await log.step('pull', never, async own => {
    for (clock.at = 0; clock.at < 600_000; clock.at += 100) own.progress({ bytes: clock.at, total: 600_000 })
  })
  const said = lines.filter(({ mark }) => mark === 'progress')
  expect(said.slice(0, 3).map(({ at, text }) => [at, text])).toEqual([
    [1000, '0.0 MB of 0.6 MB'],
    [2000, '0.0 MB of 0.6 MB'],
    [3000, '0.0 MB of 0.6 MB'],
  ])
  expect(said.length).toBeLessThan(70)
  expect(said.at(-1)?.totalBytes).toBe(600_000)
})

test('a build that begins again goes on counting', async () => {
  const lines: BuildLogLine[] = []
  const log = openBuildLog({ send: line => lines.push(line) }, () => 0, 7)
  await log.step('one', new AbortController().signal, async () => {})
  expect(lines.map(({ step }) => step)).toEqual([8, 8])
})
