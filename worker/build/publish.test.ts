import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import type { DesiredBuild } from '#shared/domain/build.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Progress } from './build-log.ts'
import { EMPTY_DRAFT, withStep } from './image-draft.ts'
import { type PublishOptions, publishDraft } from './publish.ts'
import { openTurns } from './turns.ts'

const digest = digestFromHex('a'.repeat(64))
const created = '2026-01-01T00:00:00.000Z'
const draft = withStep(EMPTY_DRAFT, { created, layer: { diffId: digest, digest, size: 4 } }, 'RUN x')
const build = { id: 'b', spec: { tags: ['a:1'] } } as DesiredBuild

function optionsWith(signal: AbortSignal, upload: () => Promise<void>, did: string[], progress: Progress[] = []) {
  const fake = {
    ports: { architecture: 'amd64', images: { add: async () => void did.push('added') } },
    api: {
      missingBlobs: async () => [{ digest }],
      upload,
      publishImage: async () => void did.push('published'),
    },
    layerFile: () => import.meta.filename,
    log: { write: () => {}, progress: (soFar: Progress) => void progress.push(soFar) },
    pushes: openTurns(),
    stored: new Set(),
    signal,
  }
  return fake as unknown as PublishOptions
}

test('an image appears after its layers', async () => {
  const did: string[] = []
  const upload = async () => void did.push('uploaded')
  const progress: Progress[] = []
  await publishDraft(draft, build, optionsWith(new AbortController().signal, upload, did, progress))
  expect(progress).toEqual([{ bytes: 4, total: 4 }])
  expect(did).toEqual(['uploaded', 'added', 'published'])
})

test('what the store had is not asked for again, until a publication tells that it is lost', async () => {
  const did: string[] = []
  const upload = async () => void did.push('uploaded')
  const options = optionsWith(new AbortController().signal, upload, did)
  for (let round = 0; round < 2; round++) await publishDraft(draft, build, options)
  expect(did.toSorted()).toEqual(['added', 'added', 'published', 'published', 'uploaded'])
  const publishImage = async () => {
    did.push('asked')
    if (did.filter(word => word === 'uploaded').length < 2) throw new SlipwayError('blob.not-found', 'It is lost.')
    return digest
  }
  await publishDraft(draft, build, { ...options, api: { ...options.api, publishImage } })
  expect(did.slice(5).filter(word => word !== 'added')).toEqual(['asked', 'uploaded', 'asked'])
})

test('a cancel during an upload that hangs ends it, and no tag appears', async () => {
  const did: string[] = []
  const cancel = new AbortController()
  const hanging = () => {
    cancel.abort(new Error('canceled'))
    return new Promise<void>(() => {})
  }
  await expect(publishDraft(draft, build, optionsWith(cancel.signal, hanging, did))).rejects.toThrow('canceled')
  expect(did).toEqual([])
})
