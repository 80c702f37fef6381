import { expect, test } from 'vitest'
import type { DesiredBuild, ObservedBuild } from '#shared/domain/build.ts'
import { createBuildRunner } from './builds.ts'

const wanted = (id: string, goal: DesiredBuild['goal'] = 'built') => ({ id, goal }) as DesiredBuild
const ended: ObservedBuild = { state: 'canceled', startedAt: 0, finishedAt: 1 }

function runner(builds: DesiredBuild[]) {
  const begun: string[] = []
  const said: string[] = []
  const run = createBuildRunner({
    desired: { state: () => ({ builds }) },
    reporter: { build: (id, { state }) => void said.push(`${id} ${state}`) },
    build: async ({ id }) => {
      begun.push(id)
      return ended
    },
    ...{ now: () => 1, signal: new AbortController().signal },
  })
  return { run, begun, said }
}

test('a build runs once for as long as it is asked for; asked for again after it was forgotten, it is another one', async () => {
  const builds = [wanted('b')]
  const { run, begun, said } = runner(builds)
  run.look()
  await run.idle()
  run.look()
  await run.idle()
  expect(begun).toEqual(['b'])
  expect(said).toEqual(['b running', 'b canceled'])
  builds.length = 0
  run.look() // Its name is forgotten here.
  builds.push(wanted('b'))
  run.look()
  await run.idle()
  expect(begun).toEqual(['b', 'b'])
})

test('a build that waits for its turn is reported canceled at once, and never runs', async () => {
  const builds = [wanted('a'), wanted('b'), wanted('c')]
  const turn = Promise.withResolvers<ObservedBuild>()
  const begun: string[] = []
  const said: string[] = []
  const run = createBuildRunner({
    desired: { state: () => ({ builds }) },
    reporter: { build: (id, { state }) => void said.push(`${id} ${state}`) },
    build: ({ id }) => {
      begun.push(id)
      return turn.promise
    },
    ...{ now: () => 1, signal: new AbortController().signal },
  })
  run.look()
  builds[2] = wanted('c', 'canceled')
  run.look()
  run.look()
  expect(said.filter(line => line.startsWith('c'))).toEqual(['c canceled'])
  turn.resolve(ended)
  await run.idle()
  expect(begun).toEqual(['a', 'b'])
  expect(said.filter(line => line.startsWith('c'))).toEqual(['c canceled'])
})
