import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createBuildSchema } from '#shared/protocol/builds.ts'

/** Pages that list what the code has. */
const page = (name: string) => readFileSync(`${import.meta.dirname}/../docs/${name}`, 'utf8')

test('docs/dockerfile.md and docs/builds.md name every field of a build', () => {
  const sources = ['context', 'git', 'url']
  const withCompression = ['compressionLevel', 'forceCompression']
  const rows = [...page('dockerfile.md').matchAll(/^\| `(\w+)` /gm)].map(([, field]) => field)
  expect([...rows, ...sources, ...withCompression].sort()).toEqual(Object.keys(createBuildSchema.shape).sort())
  for (const field of withCompression) expect(page('builds.md')).toContain(`- \`${field}\`:`)
  for (const field of sources) expect(page('builds.md')).toContain(`"${field}": `)
})
