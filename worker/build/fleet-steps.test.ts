import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import { openFleetSteps } from './fleet-steps.ts'

const created = '2026-01-01T00:00:00.000Z'
const layerOf = (letter: string) => {
  const digest = digestFromHex(letter.repeat(64))
  return { diffId: digest, digest, size: 1 }
}

function openFleet(answers: Record<string, Record<string, StepResult>>) {
  const asked: string[] = []
  const said: string[] = []
  const api = {
    findSteps: async (key: string) => {
      asked.push(key)
      const found = answers[key]
      if (!found) throw new Error('away')
      return Object.entries(found).map(([key, result]) => ({ key, result }))
    },
  }
  return { fleet: openFleetSteps(api, { write: (_stream, text) => said.push(text) }), asked, said }
}

test('a chain of steps costs one question', async () => {
  const chain = { a: { created, layer: layerOf('a') }, b: { created }, c: { created, layer: layerOf('c') } }
  const { fleet, asked } = openFleet({ a: chain, x: {} })
  expect(await fleet.find('a')).toEqual(chain.a)
  expect(fleet.hasGiven(layerOf('a').diffId)).toBe(true)
  expect(fleet.hasGiven(layerOf('c').diffId)).toBe(false)
  expect(await fleet.find('b')).toEqual(chain.b)
  expect(await fleet.find('c')).toEqual(chain.c)
  expect(fleet.hasGiven(layerOf('c').diffId)).toBe(true)
  expect(await fleet.find('x')).toBeUndefined()
  expect(asked).toEqual(['a', 'x'])
})

test('an API that is away is asked once, and the log says so once', async () => {
  const { fleet, asked, said } = openFleet({})
  expect(await Promise.all(['a', 'b'].map(fleet.find))).toEqual([undefined, undefined])
  expect(await fleet.find('c')).toBeUndefined()
  expect(asked).toEqual(['a', 'b'])
  expect(said).toHaveLength(1)
})
