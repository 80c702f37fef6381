import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, digestHex, digestOf } from '#shared/digest.ts'
import {
  type Attestation,
  EMPTY_CONFIG,
  IN_TOTO,
  PREDICATE_ANNOTATION,
  PREDICATES,
} from '#shared/domain/attestation.ts'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { type Descriptor, MEDIA_TYPES } from '#shared/domain/image.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { findPackages } from '../sbom/find-packages.ts'
import { imagePurl } from '../sbom/purl.ts'
import { spdxDocument } from '../sbom/spdx.ts'
import type { LogLines } from './build-log.ts'
import { type SharedWork, takeSnapshot } from './build-work.ts'
import { epochOf } from './epoch.ts'
import type { Draft } from './image-draft.ts'
import { type BuildFacts, provenanceOf } from './provenance.ts'
import type { Turns } from './turns.ts'

export interface AttestOptions {
  spec: BuildSpecOf<'dockerfile'>
  draft: Draft
  work: SharedWork
  log: LogLines
  api: Pick<ControlPlane, 'missingBlobs' | 'upload'>
  pushes: Turns
  facts: Omit<BuildFacts, 'platform' | 'finishedAt' | 'isReproducible' | 'materials'>
}

/** An attestation whose blob is in the store: its manifest is to be published with the image. */
export interface MadeAttestation extends Attestation {
  manifest: string
}

/** The image that is attested. */
export interface Subject {
  digest: Digest
  /** Of its manifest. */
  size: number
}

/** What the build was asked to say of its image: in-toto statements, uploaded, each with the manifest that refers to the image. */
export async function attest(subject: Subject, options: AttestOptions): Promise<MadeAttestation[]> {
  const { spec } = options
  const made: MadeAttestation[] = []
  if (spec.sbom) made.push(await attested(PREDICATES.sbom, await sbomOf(subject, options), subject, options))
  if (spec.provenance !== false) {
    made.push(await attested(PREDICATES.provenance, provenance(options), subject, options))
  }
  return made
}

function provenance({ spec, work, facts }: AttestOptions): object {
  const { materials, ports } = work
  const mode = spec.provenance === 'max' ? 'max' : 'min'
  return provenanceOf(spec, mode, {
    ...{ ...facts, materials, platform: `linux/${ports.architecture}`, finishedAt: ports.clock.now() },
    isReproducible: epochOf(spec.args) !== undefined && materials.isHermetic(),
  })
}

async function sbomOf({ digest }: Subject, { spec, draft, work, log, facts }: AttestOptions): Promise<object> {
  const { signal, ports } = work
  await using undo = new AsyncDisposableStack()
  log.write('step', 'listing the packages of the image')
  const { rootfs } = await takeSnapshot(work, draft, undo)
  const { packages, warnings, distribution } = await findPackages(rootfs, signal)
  for (const warning of warnings) log.write('stderr', warning)
  const [name = ''] = spec.tags
  const [purl = ''] = purlsOf(spec.tags, ports.architecture)
  const created = draft.created ?? new Date(facts.startedAt).toISOString()
  return spdxDocument({ sha256: digestHex(digest), name, purl, created }, packages, distribution, facts.builder.version)
}

function purlsOf(tags: readonly string[], architecture: string): string[] {
  return tags.map(text => {
    const { repository, tag = 'latest' } = parseImageReference(text)
    return imagePurl(repository, tag, `linux/${architecture}`)
  })
}

async function attested(
  predicateType: string,
  predicate: object,
  subject: Subject,
  options: AttestOptions,
): Promise<MadeAttestation> {
  const { spec, work } = options
  const digest = { sha256: digestHex(subject.digest) }
  const statement = JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1',
    subject: purlsOf(spec.tags, work.ports.architecture).map(name => ({ name, digest })),
    predicateType,
    predicate,
  })
  const blob = { mediaType: IN_TOTO, digest: await digestOf(statement), size: Buffer.byteLength(statement) }
  await push(blob, statement, options)
  const manifest = await manifestOf(predicateType, blob, subject)
  return { predicateType, manifest, digest: await digestOf(manifest) }
}

/** In turn, since another build of this host may make the same list of packages. */
async function push(blob: Descriptor, text: string, { work, api, pushes }: AttestOptions): Promise<void> {
  const path = join(work.folder, `${digestHex(blob.digest)}.json`)
  await writeFile(path, text, { mode: 0o600 })
  await pushes.take(blob.digest, async () => {
    const [missing] = await api.missingBlobs([blob])
    if (missing) await api.upload(missing, path, work.signal)
  })
}

/** OCI image-spec 1.1, "Guidelines for Artifact Usage", with a subject. */
async function manifestOf(predicateType: string, blob: Descriptor, { digest, size }: Subject): Promise<string> {
  const { mediaType, text } = EMPTY_CONFIG
  const annotations = { [PREDICATE_ANNOTATION]: predicateType }
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.manifest,
    artifactType: IN_TOTO,
    config: { mediaType, digest: await digestOf(text), size: text.length },
    layers: [{ ...blob, annotations }],
    subject: { mediaType: MEDIA_TYPES.manifest, digest, size },
    annotations,
  })
}
