#!/bin/bash
# bash there.sh WHAT …: parts of the trainings at 256 pixels on one GPU. What is made lies in $L; `bg` starts a part that
# goes on when the call that started it has ended, and `poll` says how far all are. See docs/one_gpu.md.
L=${L:-$HOME/trained}
PY=${PY:-python3}
export PYTHONPATH=$L/site:$L/code OMP_NUM_THREADS=2 TOKENIZERS_PARALLELISM=false
FREE="experiment=chest256 prepared=$L/out/prepared/free256"
INDIANA="experiment=indiana256 prepared=$L/out/prepared/indiana256"
MINILM="text_encoder.source=$L/minilm"

install() { # wheels and code, once; later calls may bring other files
  $PY -m pip install -q --no-index --no-deps --target $L/site "$1"/*.whl
  mkdir -p $L/code && cp -r cxr_ldm conf train.py $L/code/ && cp docs/one_gpu/* $L/
}
train() { # log, arguments
  local log=$L/$1.log
  shift
  (cd $L/code && $PY train.py logger=csv paths.outputs=$L/out trainer.precision=${PRECISION:-bf16} "$@") >> $log 2>&1
  local code=$?
  echo "$(date +%T) ended with $code: ${*: -1}" >> $L/events
  return $code
}
unpack() { # pack, name of the folder
  (cd $L/code && $PY -m cxr_ldm.data.pack file=$L/$1 out=$L/out/prepared/$2) >> $L/unpack.log 2>&1
  echo "$(date +%T) unpacked $2: $?" >> $L/events
}
wait_for() { until [ -e $L/$1 ]; do [ -e $L/failed ] && exit 1; sleep 0.5; done; }

vae() { # images
  train vae stage=vae $FREE training=gpu256 training.vae.images=$1 training.vae.validate_every=$1 name=vae \
    && touch $L/vae.done || touch $L/failed
}
decoder() { # name, images, noise on the latents, free or indiana, the VAE that it goes on from
  local data="experiment=chest256_decoder data.root=- prepared=$L/out/prepared/$([ $4 = indiana ] && echo indiana256 || echo free256)"
  wait_for vae.done
  train $1 stage=vae $data training.vae.images=$2 training.vae.validate_every=$2 training.vae.latent_noise=$3 \
    training.vae.checkpoint_every=20000 training.vae.batch_size=32 training.vae.workers=4 vae_bundle=$L/out/vae/$5/bundle name=$1
}
decoders() { decoder dec $1 $3 free vae && decoder dec_indiana $2 $3 indiana dec; } # images of either, noise
ldm() { # name, free or indiana, images, seed, its autoencoder: a name of the package or a folder, vae is the one made here
  local data=$FREE vae=${5:-taesd}
  [ "$2" = indiana ] && data="$INDIANA $MINILM"
  [ "$vae" = vae ] && wait_for vae.done && vae=$L/out/vae/vae/bundle
  train $1 stage=ldm $data training=gpu256 trainer.graphs=${GRAPHS:-true} vae_bundle=$vae seed=${4:-0} \
    training.ldm.images=$3 training.ldm.validate_every=${VALIDATE:-$3} name=$1
}
draw() { # name of an Indiana model, images, guidance
  (cd $L/code && $PY $L/draw.py $L/out/ldm/$1/bundle $L/out/prepared/indiana256 $2 $3 $L/$1_$3.npz) >> $L/draw.log 2>&1
  echo "$(date +%T) drew $1 at $3: $?" >> $L/events
}
deck() { # images of the VAE, of the model: the slides' settings for the same minutes
  local data="experiment=deck data=indiana256 data.root=- prepared=$L/out/prepared/indiana256 text_encoder=minilm $MINILM"
  PRECISION=16 train deck_vae stage=vae $data training.vae.images=$1 training.vae.validate_every=$(($1 / 2)) \
    training.vae.checkpoint_every=8000 training.vae.workers=2 name=deck_vae &&
    PRECISION=16 train deck stage=ldm $data vae_bundle=$L/out/vae/deck_vae/bundle training.ldm.images=$2 \
      training.ldm.validate_every=$(($2 / 2)) training.ldm.checkpoint_every=8000 training.ldm.workers=2 name=deck
}
bg() { setsid bash $L/there.sh "$@" > $L/bg_$1_$2.log 2>&1 < /dev/null & }
poll() { # seconds to wait before
  sleep ${1:-1}
  cat $L/events 2> /dev/null
  for log in $L/*.log; do
    [ -s $log ] && echo "$(basename $log): $(tail -c 400 $log | tr '\r' '\n' | grep -v '^$' | tail -1 | cut -c1-170)"
  done
}
rescue() { # name, free or indiana, seed, autoencoder: a bundle of what the last checkpoint of a model holds
  local seen
  seen=$(cd $L/code && $PY $L/rescue.py $L/out/ldm/$1 | tail -1)
  VALIDATE=$seen ldm $1_r $2 $seen $3 $4
}
hold() { # name, seconds: until a run has ended, or so long; the machine goes back 30 s after the last call has
  for _ in $(seq $2); do grep -q "name=$1$" $L/events 2> /dev/null && break; sleep 1; done
  poll 0
}
back() { # names; writes parts of 15 MB into $OUT
  rm -rf $L/back && (cd $L/code && $PY $L/back.py $L/out $L/back "$@") && tar -C $L/back -c . | split -b 15M -d - $OUT/part.
}
"$@"
