import { existsSync } from 'node:fs'
import PQueue from 'p-queue'
import type { Digest } from '#shared/digest.ts'
import type { Attestation } from '#shared/domain/attestation.ts'
import type { DesiredBuild } from '#shared/domain/build.ts'
import { SlipwayError, toFault } from '#shared/errors.ts'
import type { MissingBlob } from '#shared/protocol/agent.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import type { HostPorts } from '../execute/ports.ts'
import type { MadeAttestation, Subject } from './attest.ts'
import type { StepLog } from './build-log.ts'
import { untilAborted } from './deadline.ts'
import { layersLost } from './have-layers.ts'
import { type Draft, imageOf } from './image-draft.ts'
import type { Turns } from './turns.ts'

export interface PublishOptions {
  ports: HostPorts
  api: ControlPlane
  /** Where this host has a layer, if it has it. */
  layerFile(digest: Digest): string
  log: Pick<StepLog, 'write' | 'progress'>
  /** By digest, of all builds of this host. */
  pushes: Turns
  /** What the store had when this host last heard of it: nobody asks again, and a publication that fails tells when that was wrong. */
  stored: Set<Digest>
  /** What is published beside the image, once its bytes are in the store. */
  attest?: ((image: Subject, signal: AbortSignal) => Promise<MadeAttestation[]>) | undefined
  signal: AbortSignal
}

export interface Published {
  imageDigest: Digest
  attestations: Attestation[]
}

const UPLOADS_AT_ONCE = 3
/** Digests that are remembered. */
const STORED_LIMIT = 20_000
/** An upload that expired, was brought by another host or could not be joined: asking again tells what lacks now. */
const BEGUN_ANEW = new Set<string>(['upload.not-found', 'blob.not-found'])

/**
 * Layers that the store lacks are uploaded, then the image appears under its tags, whole. This host has it from then
 * on without fetching anything. A cancel before the last moment leaves no tag.
 */
export async function publishDraft(draft: Draft, build: DesiredBuild, options: PublishOptions): Promise<Published> {
  const { stored } = options
  const digests = draft.layers.map(({ digest }) => digest)
  const isStored = digests.every(digest => stored.has(digest))
  try {
    return await publish(draft, build, isStored, options)
  } catch (error) {
    if (!isStored || !(error instanceof SlipwayError) || error.code !== 'blob.not-found') throw error
    return await publish(draft, build, false, options)
  } finally {
    if (stored.size > STORED_LIMIT) stored.clear()
  }
}

async function publish(
  draft: Draft,
  { id, spec }: DesiredBuild,
  isStored: boolean,
  options: PublishOptions,
): Promise<Published> {
  const { api, layerFile, log, ports, pushes, stored } = options
  const over = new AbortController()
  const signal = AbortSignal.any([options.signal, over.signal])
  const annotations = spec.kind === 'dockerfile' ? spec.annotations : {}
  const { texts, ...image } = await imageOf(draft, ports.architecture, annotations)
  const missing = isStored ? [] : await api.missingBlobs(draft.layers)
  const push = async (blob: MissingBlob) => {
    signal.throwIfAborted()
    if (!existsSync(layerFile(blob.digest))) return bringFromUpstream(api, blob.digest)
    const inParts = 'parts' in blob ? ` in ${blob.parts.missing.length} parts` : ''
    log.write('step', `pushing layer ${blob.digest}${inParts}`)
    await api.upload(blob, layerFile(blob.digest), signal)
  }
  const pushWhatLacks = async (digest: Digest) => {
    const [blob] = await api.missingBlobs(draft.layers.filter(layer => layer.digest === digest))
    if (blob) await push(blob)
  }
  // Another build may push the same layer, or it is being shared with the fleet: then one does it, and goes on where the other failed.
  const pushInTurn = (blob: MissingBlob) => {
    if (pushes.isTaken(blob.digest)) log.write('step', `layer ${blob.digest} is on its way already`)
    return pushes.take(blob.digest, async hasWaited => {
      if (hasWaited) return pushWhatLacks(blob.digest)
      try {
        await push(blob)
      } catch (error) {
        if (!(error instanceof SlipwayError) || !BEGUN_ANEW.has(error.code)) throw error
        await pushWhatLacks(blob.digest)
      }
    })
  }
  const sizes = new Map(draft.layers.map(({ digest, size }) => [digest, size]))
  const sizeOf = ({ digest }: MissingBlob) => sizes.get(digest) ?? 0
  const total = missing.reduce((sum, blob) => sum + sizeOf(blob), 0)
  let bytes = 0
  const pushOne = async (blob: MissingBlob) => {
    await pushInTurn(blob)
    bytes += sizeOf(blob)
    log.progress({ bytes, total })
  }
  const uploads = new PQueue({ concurrency: UPLOADS_AT_ONCE })
  const subject = { digest: image.digest, size: Buffer.byteLength(texts.manifest) }
  const attested = options.attest?.(subject, signal)
  let made: MadeAttestation[]
  try {
    const pushed = Promise.all(missing.map(blob => uploads.add(() => pushOne(blob))))
    ;[made] = await untilAborted(Promise.all([attested ?? [], pushed]), signal)
  } finally {
    over.abort() // What still goes up after a failure would do so for nothing.
    await Promise.allSettled([attested]) // It works in the build's folder.
  }
  options.signal.throwIfAborted()
  const attestations = made.map(({ manifest }) => manifest)
  const publication = { buildId: id, tags: spec.tags, layerSizes: draft.layerSizes, attestations, ...texts }
  const added = ports.images.add(image).catch(error => {
    // It is no part of the result: who runs the image here fetches what it is made of.
    log.write('stderr', `This host could not keep the image: ${toFault(error).message}`)
  })
  try {
    await api.publishImage(publication)
  } finally {
    await added
  }
  for (const { digest } of draft.layers) stored.add(digest)
  return {
    imageDigest: image.digest,
    attestations: made.map(({ predicateType, digest }) => ({ predicateType, digest })),
  }
}

/** A base image's layer that nothing asked for yet: the API brings it from its upstream for whoever asks. */
async function bringFromUpstream(api: ControlPlane, digest: Digest): Promise<void> {
  const stream = await api.download(digest).catch(cause => {
    throw cause instanceof SlipwayError && cause.code === 'blob.not-found' ? layersLost(cause) : cause
  })
  stream.destroy()
}
