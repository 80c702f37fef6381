import { z } from 'zod'
import { makeSealKeys, type SealKeys } from '#shared/seal.ts'
import { readDurableJson, writeDurableJson } from './durable-file.ts'

const keysSchema = z.object({ publicKey: z.string(), privateKey: z.string() })

/** The keys that secrets for this host are sealed with. Made once; root's alone to read. */
export async function openSealKeys(path: string): Promise<SealKeys> {
  const known = await readDurableJson(path, keysSchema)
  if (known) return known
  const made = await makeSealKeys()
  await writeDurableJson(path, made)
  return made
}
