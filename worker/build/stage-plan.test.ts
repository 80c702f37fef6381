import { expect, test } from 'vitest'
import { parseInstructions } from '../dockerfile/dockerfile.ts'
import { firstState } from '../dockerfile/stage-state.ts'
import { begunAhead, plannedSteps, sourceNames } from './stage-plan.ts'

const SCOPE = { dockerfile: { file: 'Dockerfile', escapeChar: '\\' as const }, given: {}, globals: new Map() }

async function planOf(text: string) {
  const planned = []
  for await (const step of plannedSteps(firstState(undefined), parseInstructions(text, 'Dockerfile'), SCOPE)) {
    planned.push(step)
  }
  return planned
}

test('names of sources are known with their variables before any step has run', async () => {
  const planned = await planOf(
    'ARG a=one\nRUN true\nENV b=$a-two\nWORKDIR /w\nCOPY --from=$b x .\nRUN --mount=from=plain,target=m --mount=type=cache,target=c,from=$a --mount=type=tmpfs,target=/t true\nCOPY x y\n',
  )
  expect(planned.map(({ step }) => sourceNames(step))).toEqual([[], [], [], [], ['one-two'], ['plain', 'one'], []])
  expect(planned.at(-1)?.step).toMatchObject({ kind: 'copy', to: '/w/y' })
  expect(planned[1]?.state.args.get('a')).toBe('one')
})

test('a fault comes when its instruction does', async () => {
  await expect(planOf('RUN true\nEXPOSE nothing\n')).rejects.toMatchObject({ facts: { line: 2 } })
})

test('no more is begun ahead than is to be, and all of it comes in order', async () => {
  const begun: number[] = []
  async function* counted() {
    for (let at = 0; at < 10; at++) yield at
  }
  const aheads: number[] = []
  const taken: number[] = []
  for await (const { item } of begunAhead(counted(), 3, item => begun.push(item))) {
    taken.push(item)
    aheads.push(begun.length - taken.length)
  }
  expect(taken).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(Math.max(...aheads)).toBe(3)
})
