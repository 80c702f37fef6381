import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import type { DesiredBuild, ObservedBuild } from '#shared/domain/build.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { DesiredState } from '#shared/protocol/agent.ts'
import { createBuildRunner } from './builds.ts'

const wanted = (id: string, goal: DesiredBuild['goal'] = 'built') => ({ id, goal }) as DesiredBuild
const PUBLISHED: ObservedBuild = {
  ...{ state: 'succeeded', startedAt: 0, finishedAt: 1, imageDigest: digestFromHex('a'.repeat(64)) },
  warnings: [],
}
const ended: ObservedBuild = { state: 'canceled', startedAt: 0, finishedAt: 1 }

/** `waiting`: what the API has for whoever asks. Builds run until `finish`, or their signal. */
function runner({
  desired = [],
  waiting = [],
  atOnce = 2,
  isPublished = false,
  isAway = false,
}: {
  desired?: DesiredBuild[]
  waiting?: string[]
  atOnce?: number
  /** The stop comes when the image is published already. */
  isPublished?: boolean
  isAway?: boolean
}) {
  const begun: string[] = []
  const said: string[] = []
  const asked: (string | undefined)[] = []
  const taken = new Set<string>()
  const turns = new Map<string, () => void>()
  let now = 1
  const stop = new AbortController()
  const run = createBuildRunner({
    desired: {
      state: () => ({ builds: desired }) as unknown as DesiredState,
      takeBuild: build => void desired.push(build),
    },
    reporter: {
      build: (id, { state }) => void said.push(`${id} ${state}`),
      lastOf: async (id, { state }) => {
        if (isAway) throw new SlipwayError('host.unreachable', 'away')
        said.push(`${id} ${state} at last`)
      },
    },
    api: {
      claimBuild: async id => {
        asked.push(id)
        if (id !== undefined && taken.has(id)) throw new SlipwayError('build.taken', 'Another has it.')
        const given = id ?? waiting.shift()
        return given === undefined ? undefined : { build: wanted(given), logFrom: 0, stepFrom: 0 }
      },
      releaseBuild: async id => void said.push(`${id} given back`),
    },
    build: async ({ build }, signal) => {
      begun.push(build.id)
      await new Promise<void>(resolve => {
        turns.set(build.id, resolve)
        signal.addEventListener('abort', () => resolve())
      })
      return signal.aborted && isPublished ? PUBLISHED : ended
    },
    ...{ now: () => now, atOnce, signal: stop.signal },
  })
  const settle = () => setTimeout(5)
  const finish = async (id: string) => {
    turns.get(id)?.()
    await settle()
  }
  const pass = (ms: number) => {
    now += ms
  }
  return { stop: () => stop.abort(), run, begun, said, asked, taken, desired, finish, settle, pass }
}

test('a build of this host is claimed, and runs once for as long as it is asked for', async () => {
  const { run, begun, said, asked, desired, finish, settle } = runner({ desired: [wanted('b')] })
  run.look()
  run.look()
  await settle()
  await finish('b')
  run.look()
  await settle()
  expect([begun, asked, said]).toEqual([['b'], ['b'], ['b running', 'b canceled']])
  desired.length = 0
  run.look() // Its name is forgotten here.
  desired.push(wanted('b'))
  run.look()
  await settle()
  expect(begun).toEqual(['b', 'b'])
})

test('no more run at once than may; the next begins when one ends', async () => {
  const { run, begun, finish, settle } = runner({ desired: ['a', 'b', 'c'].map(id => wanted(id)) })
  run.look()
  await settle()
  expect([begun, run.hasRoom()]).toEqual([['a', 'b'], false])
  await finish('a')
  expect(begun).toEqual(['a', 'b', 'c'])
})

test('a build that waits for its turn is reported canceled at once, and never runs', async () => {
  const { run, begun, said, desired, finish, settle } = runner({ desired: ['a', 'b', 'c'].map(id => wanted(id)) })
  run.look()
  await settle()
  desired[2] = wanted('c', 'canceled')
  run.look()
  run.look()
  expect(said.filter(line => line.startsWith('c'))).toEqual(['c canceled'])
  await finish('a')
  await finish('b')
  expect(begun).toEqual(['a', 'b'])
})

test('a running build that is canceled ends by its signal, and says so', async () => {
  const { run, said, desired, settle } = runner({ desired: [wanted('a')] })
  run.look()
  await settle()
  desired[0] = wanted('a', 'canceled')
  run.look()
  await settle()
  expect(said).toEqual(['a running', 'a canceled'])
})

test('builds are taken from the queue while there is room', async () => {
  const { run, begun, desired } = runner({ waiting: ['q'] })
  expect(await run.take()).toBe(true)
  expect(await run.take()).toBe(false)
  run.look()
  expect([begun, desired.map(({ id }) => id)]).toEqual([['q'], ['q']])
})

test('a message of a build that this host has, or has just ended, begins it no second time', async () => {
  const { run, begun, said, asked, desired, finish, settle } = runner({ desired: [wanted('a')], waiting: ['q'] })
  run.look()
  expect(await run.take('a' as BuildId)).toBe(true) // It is being claimed.
  await settle()
  await finish('a')
  await run.take()
  expect(await run.take('q' as BuildId)).toBe(true)
  await finish('q')
  expect(await run.take('q' as BuildId)).toBe(true) // The API may not have heard of its end.
  expect([begun, asked]).toEqual([
    ['a', 'q'],
    ['a', undefined],
  ])
  expect(said).toEqual(['a running', 'a canceled', 'q running', 'q canceled'])
  desired.length = 0
  run.look() // What another gave back is taken anew.
  expect(await run.take('q' as BuildId)).toBe(true)
  expect(begun).toEqual(['a', 'q', 'q'])
})

test('what another host has by now is stopped without a word', async () => {
  const { run, said, desired, settle } = runner({ desired: [wanted('a')] })
  run.look()
  await settle()
  desired.length = 0
  run.look()
  await settle()
  expect(said).toEqual(['a running'])
  expect(run.hasRoom()).toBe(true)
})

test('a build that the API gives to nobody is not begun, and is asked for again after a while alone', async () => {
  const { run, begun, asked, taken, settle, pass } = runner({ desired: [wanted('a')] })
  taken.add('a')
  run.look()
  await settle()
  run.look()
  await settle()
  expect([begun, asked]).toEqual([[], ['a']])
  pass(6000)
  taken.clear()
  run.look()
  await settle()
  expect(begun).toEqual(['a'])
})

test('a host that may build nothing asks for nothing', async () => {
  const { run, asked, settle } = runner({ desired: [wanted('a' as BuildId)], atOnce: 0 })
  run.look()
  await settle()
  expect([asked, run.hasRoom()]).toEqual([[], false])
})

test('an agent that is stopped gives back what it builds, once that is over', async () => {
  const { run, said, desired, settle, stop } = runner({ desired: [wanted('a')], waiting: ['q'] })
  await run.take()
  run.look()
  await settle()
  stop()
  await run.idle()
  expect(await run.take('q' as BuildId)).toBe(false)
  expect(said.toSorted()).toEqual(['a given back', 'a running', 'q given back', 'q running'])
  expect(desired.map(({ id }) => id)).toEqual(['a', 'q'])
})

test.each([
  [false, ['a running', 'a succeeded at last']],
  [true, ['a running', 'a given back']],
])('a build whose image is published when its agent stops is told as it is; API away: %s', async (isAway, expected) => {
  const { run, said, settle, stop } = runner({ desired: [wanted('a')], isPublished: true, isAway })
  run.look()
  await settle()
  stop()
  await run.idle()
  expect(said).toEqual(expected)
})
