import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { containerHealthSchema, healthResultSchema } from '#shared/domain/health.ts'
import type { HealthState } from '#worker/reconcile/health.ts'

const stateSchema = containerHealthSchema.extend({
  startedAt: z.number(),
  nextAt: z.number(),
  log: z.array(healthResultSchema),
})

/** What was found of a container's health, in its folder. One that is not there or cannot be read begins anew. */
export async function readHealth(folder: string): Promise<HealthState | undefined> {
  const text = await readFile(join(folder, 'health.json'), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  try {
    return stateSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

/**
 * By a rename and without waiting for the disk: it has to outlive the agent alone. Never fails: a full disk, or a container that
 * was just removed, costs no more than a check that is made again.
 */
export async function writeHealth(folder: string, state: HealthState): Promise<void> {
  const path = join(folder, 'health.json')
  try {
    await writeFile(`${path}.part`, JSON.stringify(state), { mode: 0o600 })
    await rename(`${path}.part`, path)
  } catch {
    // The next check is written again.
  }
}
