import type { Ports } from '#control-plane/ports.ts'
import { foundSteps, shareStep } from '#control-plane/registry/build-cache.ts'
import { digestHex, digestOf } from '#shared/digest.ts'
import type { StepResult } from '#shared/domain/cached-step.ts'
import type { HostId } from '#shared/domain/ids.ts'
import { pushBlob } from './images.ts'

/** Steps of builds by names that tests give them. */

export const BUILD_HOST = 'aaaaaaaaaaaaaaaa' as HostId

export const stepKey = async (name: string) => digestHex(await digestOf(`step ${name}`))

/** What a step gave whose layer is this text; none: it changed no file. */
export async function stepResult(layer: string | undefined): Promise<StepResult> {
  const created = '2026-11-25T12:00:00.000Z'
  if (layer === undefined) return { created }
  const [digest, diffId] = [await digestOf(layer), await digestOf(`tar of ${layer}`)]
  return { created, layer: { digest, diffId, size: Buffer.byteLength(layer) } }
}

export async function shareNamed(ports: Ports, name: string, after?: string, layer?: string): Promise<void> {
  const result = await stepResult(layer)
  const body = { result, isAnew: false, ...(after === undefined ? {} : { after: await stepKey(after) }) }
  await shareStep(ports, BUILD_HOST, await stepKey(name), body)
}

/** With its layer in the store. */
export async function shareWithLayer(ports: Ports, name: string, after?: string, layer = `layer of ${name}`) {
  await pushBlob(ports, 'cache/layers', layer)
  await shareNamed(ports, name, after, layer)
}

/** The names of what is told, of those that may be. */
export async function toldNames(ports: Ports, asked: string, names: readonly string[]): Promise<string[]> {
  const byKey = new Map(await Promise.all(names.map(async name => [await stepKey(name), name] as const)))
  const { steps } = await foundSteps(ports, await stepKey(asked))
  return steps.map(({ key }) => byKey.get(key) ?? key)
}
