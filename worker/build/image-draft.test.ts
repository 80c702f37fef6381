import { expect, test } from 'vitest'
import { digestFromHex, digestOf } from '#shared/digest.ts'
import { imageConfigSchema, MEDIA_TYPES } from '#shared/domain/image.ts'
import { withConfig } from '../dockerfile/stage-state.ts'
import { draftOf, EMPTY_DRAFT, imageOf, withState, withStep } from './image-draft.ts'

const digest = digestFromHex('a'.repeat(64))
const descriptor = { mediaType: MEDIA_TYPES.layerGzip, digest, size: 4 }
const step = { created: '2026-01-01T00:00:00.000Z', layer: { diffId: digest, digest, size: 4 } }

test('what the base says and only others read is kept', async () => {
  const config = imageConfigSchema.parse({
    ...{
      architecture: 'arm64',
      os: 'linux',
      variant: 'v8',
      'os.version': '1',
      rootfs: { type: 'layers', diff_ids: [] },
    },
    config: { Healthcheck: { Test: ['CMD', 'true'] }, StopTimeout: 3, ArgsEscaped: true, Env: ['A=1'] },
  })
  const base = { digest, manifest: { schemaVersion: 2 as const, config: descriptor, layers: [] }, config }
  const draft = withStep(draftOf(base), step, 'RUN x', withConfig(draftOf(base).state, { User: 'app' }))
  const made = JSON.parse((await imageOf(draft, 'arm64')).texts.config)
  expect(made).toMatchObject({ variant: 'v8', 'os.version': '1' })
  expect(made.config).toEqual({ ...config.config, User: 'app' })
})

test('layers, diff IDs and history grow together, and the digests are of the exact bytes', async () => {
  const draft = withStep(withState(EMPTY_DRAFT, EMPTY_DRAFT.state, 'ENV A=1'), step, 'RUN x')
  const unchanged = withStep(draft, { created: step.created }, 'RUN true')
  const image = await imageOf(unchanged, 'amd64')
  expect(image.manifest.layers).toEqual([descriptor])
  expect(image.config.rootfs.diff_ids).toEqual([digest])
  expect(image.config.history?.map(({ empty_layer }) => empty_layer ?? false)).toEqual([true, false, true])
  expect(image.digest).toBe(await digestOf(image.texts.manifest))
  expect(image.manifest.config.digest).toBe(await digestOf(image.texts.config))
})
