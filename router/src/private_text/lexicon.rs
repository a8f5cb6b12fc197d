//! Words that say what a sentence is about, in eight languages.
//!
//! Each group is one feature of the head: patterns with a bar between them, matched in small letters. `_` is the edge of a
//! word, so `straße_` is an ending and `_dear_` a word.
//!
//! No group names a single person, town or medicine; illnesses appear by the endings and general words that many share.
//! What the groups cannot know is left to the encoder and to the hashed n-grams.

/// A group: what it is about, and its patterns.
type Group = (&'static str, &'static str);

/// The patterns of all groups, each with its group's place, as they are found in words with one space between and around them.
pub fn patterns() -> impl Iterator<Item = (usize, String)> {
    let of = |(at, (_, patterns)): (usize, &'static Group)| {
        patterns.split('|').map(move |pattern| (at, pattern.replace('_', " ")))
    };
    GROUPS.iter().enumerate().flat_map(of)
}

/// The streets' group, whose places are looked at for numbers beside them.
pub const STREETS: usize = 0;
/// The group of first persons.
pub const FIRST_PERSON: usize = 1;
/// The group of illness in general.
pub const ILLNESS: usize = 2;
/// The group of patients and care.
pub const CARE: usize = 3;
/// The group of relatives.
pub const KIN: usize = 4;
/// The group of general questions.
pub const GENERAL: usize = 5;

/// All groups.
pub const GROUPS: &[Group] = &[
    (
        "street",
        "_street_|_st_|_road_|_rd_|_avenue_|_ave_|_lane_|_drive_|_court_|_close_|_blvd_|_boulevard_|\
         _crescent_|_terrace_|_square_|_way_|straße_|strasse_|str_|weg_|gasse_|platz_|allee_|ufer_|_rue_|\
         _impasse_|_allée_|_chemin_|_place_|_quai_|_calle_|_c/_|_avenida_|_avda_|_av_|_plaza_|_paseo_|\
         _travesía_|_carrer_|_via_|_viale_|_piazza_|_corso_|_vicolo_|_largo_|_rua_|_travessa_|_praça_|\
         _alameda_|_estrada_|straat_|laan_|gracht_|plein_|kade_|singel_|steeg_|_ul_|_ulica_|_ulicy_|_al_|\
         _aleja_|_os_|_osiedle_|_pl_|_plac_",
    ),
    (
        "first person",
        "_i_|_i'm_|_i've_|_my_|_me_|_mine_|_our_|_ich_|_mein|_mir_|_mich_|_unser|_je_|_j'ai_|_mon_|_ma_|\
         _mes_|_moi_|_notre_|_yo_|_mi_|_mis_|_tengo_|_estoy_|_nuestr|_io_|_ho_|_mio_|_mia_|_miei_|_nostr|\
         _eu_|_meu_|_minha_|_tenho_|_estou_|_noss|_ik_|_mij_|_mijn_|_onze_|_ja_|_mam_|_mój_|_moja_|_moje_|\
         _mojej_|_mnie_|_jestem_|_nasz",
    ),
    (
        "illness",
        "itis_|ose_|osis_|emia_|emie_|ämie_|pathy_|pathie_|krebs_|_cancer_|kanker_|_cáncer_|_cancro_|_rak_|\
         _tumo|_disease_|_illness_|krankheit_|_maladie_|_enfermedad_|_malattia_|_morbo_|_doença_|_ziekte_|\
         _chorob|_syndrom|_disorder_|störung_|_trastorno_|_disturbo_|_distúrbio_|stoornis_|_depress|_depres|\
         _infection_|_infektion_|_schmerz|_pain_|_pains_|_douleur|_dolor_|_dolore_|_dor_|_pijn_|_ból_|_bóle_|\
         _bleeding_|_blood_|_blut_|_sang_|_sangre_|_sangue_|_bloed_|_krew_|_fever_|_fieber_|_fièvre_|\
         _fiebre_|_febbre_|_febre_|_koorts_|_gorączk",
    ),
    (
        "care",
        "_patient_|_patients_|_patientin_|_paciente_|_paziente_|_pacjent|_patiënt|_diagnos|_zdiagnoz|\
         _festgestellt_|_vastgesteld_|_rozpoznan|_hospital|_krankenhaus_|_klinik_|_clinique_|_clínica_|\
         _clinica_|_kliniek_|_klinice_|_szpital|_ricoverat|_internad|_ingresó_|_opgenomen_|_admitted_|\
         _sick leave_|_off sick_|_krankgeschrieben_|_arrêt maladie_|_de baja_|_in malattia_|_de baixa_|\
         _ziek_|_zwolnieniu_|_surgery_|_operation_|_opération_|_operación_|_intervento_|_operação_|\
         _operatie_|_operacj|_pregnant_|_schwanger|_enceinte_|_embarazada_|_incinta_|_grávida_|_zwanger_|\
         _ciąży_|_treatment_|_behandlung_|_traitement_|_tratamiento_|_cura_|_terapia_|_tratamento_|\
         _behandeling_|_leczeni|_relapse|_rückfall_|_recaída_|_suffer|_leide|_souffr|_sufr|_soffr|_sofr|\
         _lijd|_cierpi|_prescri|_verschrieben_|_antecedent|_anamnes|_vorgeschichte_|_wywiadzie_|_blood test_|\
         _blutbild_|_doctor_|_doctors_|_arzt_|_médecin_|_médico_|_medico_|_dokter_|_lekarz|_therap|_rehab_|\
         _miscarriage_|_fehlgeburt_|_fausse couche_|_aborto_|_miskraam_|_poroni",
    ),
    (
        "kin",
        "_mother_|_father_|_mum_|_mom_|_dad_|_wife_|_son_|_daughter_|_child_|_grandmother_|_brother_|\
         _parents_|_mutter_|_vater_|_frau_|_sohn_|_tochter_|_kind_|_oma_|_bruder_|_eltern_|_mère_|_père_|\
         _femme_|_fils_|_fille_|_frère_|_madre_|_padre_|_mujer_|_hijo_|_hija_|_abuela_|_hermano_|_moglie_|\
         _figlio_|_figlia_|_nonna_|_fratello_|_mãe_|_pai_|_mulher_|_filho_|_filha_|_avó_|_irmão_|_moeder_|\
         _vader_|_vrouw_|_zoon_|_dochter_|_broer_|_mama_|_ojciec_|_żona_|_syn_|_córka_|_babcia_|_brat_",
    ),
    (
        "general question",
        "_what are_|_what is_|_what does_|_why_|_how does_|_how do_|_how many_|_explain_|_describe_|_list_|\
         _compare_|_write a_|_summarise_|_summarize_|_erkläre_|_warum_|_wie_|_welche_|_nenne_|_vergleiche_|\
         _schreibe_|_quels_|_quelle_|_pourquoi_|_explique_|_combien_|_comment_|_cuáles_|_cuál_|_qué_|\
         _por qué_|_explica_|_cuántas_|_compara_|_quali_|_qual_|_perché_|_spiega_|_quante_|_confronta_|\
         _quais_|_por que_|_quantas_|_wat zijn_|_wat is_|_waarom_|_leg uit_|_hoeveel_|_noem_|_vergelijk_|\
         _jakie_|_dlaczego_|_wyjaśnij_|_ile_|_podaj_|_porównaj_",
    ),
    (
        "form of address",
        "_mr_|_mrs_|_ms_|_miss_|_dr_|_prof_|_professor_|_herr_|_herrn_|_frau_|_mme_|_madame_|_monsieur_|\
         _mlle_|_sr_|_sra_|_señor|_don_|_doña_|_signor|_sig_|_dott|_senhor|_dhr_|_mevr_|_mevrouw_|_meneer_|\
         _heer_|_pan_|_pani_|_pana_|_panem_|_doctor_|_doctora_|_docteur_|_dokter_|_doktor_|_maître_|_avv_|\
         _ing_",
    ),
    (
        "who somebody is",
        "_my name is_|_i am called_|_this is_|_mein name_|_ich heiße_|_je m'appelle_|_me llamo_|_mi nombre_|\
         _mi chiamo_|_meu nome_|_me chamo_|_chamo-me_|_mijn naam_|_ik heet_|_nazywam_|_imię_|_named_|\
         _namens_|_nommé|_llamad|_chiamat|_chamad|_genaamd_|_imieniem_|_born_|_geboren_|_née_|_né_|_nacid|\
         _nato_|_nata_|_nascid|_ur_",
    ),
    (
        "end of a letter",
        "_regards_|_wishes_|_sincerely_|_grüßen_|_grüße_|_cordialement_|_bien à vous_|_atentamente_|_saludo|\
         _cordiali_|_salut|_cumprimentos_|_abraço_|_groet_|_groeten_|_poważaniem_|_pozdraw|_yours_|_cheers_",
    ),
    (
        "beginning of a letter",
        "_dear_|_geehrte|_liebe_|_lieber_|_chère_|_cher_|_estimad|_querid|_gentile_|_caro_|_cara_|_egregi|\
         _prezad|_geachte_|_beste_|_szanown|_drog",
    ),
    (
        "field of a form",
        "_name_|_customer_|_client_|_kunde_|_kundin_|_cliente_|_klant_|_klient|_attendees_|_teilnehmer_|\
         _participants_|_asistentes_|_partecipanti_|_participantes_|_aanwezig_|_obecni_|_sender_|_absender_|\
         _expéditeur_|_remitente_|_mittente_|_remetente_|_afzender_|_nadawca_|_tenant_|_mieter|_locataire_|\
         _inquilin|_huurder_|_najemca_|_neighbour_|_neighbor_|_nachbar|_voisin|_vecin|_vicin|_vizinh|\
         _buurman_|_sąsiad|_colleague_|_kollege_|_employee_|_mitarbeiter|_salarié|_emplead|_dipendente_|\
         _funcionári|_medewerker_|_pracowni|_witness_|_zeug|_témoin_|_testig|_testimone_|_testemunha_|\
         _getuige_|_świadek_",
    ),
    (
        "where somebody lives",
        "_live at_|_live in_|_lives_|_address_|_moved_|_wohne|_wohnt_|_anschrift_|adresse_|_gemeldet_|\
         _habite_|_domicili|_vivo en_|_dirección_|_empadronad|_abito_|_risied|_indirizzo_|_moro_|_morada_|\
         _endereço_|_woon|_adres_|adres_|_ingeschreven_|_mieszka|_zameldowan|_deliver|_ship_|_send_|_liefer|\
         _schick|_livre|_envoye|_envíen|_mande|_sped|_enviem_|_bezorg|_stuur_|_dostarcz|_wyślij|_parcel_|\
         _paket_|_colis_|_paquete_|_pacco_|_encomenda_|_pakket_|_paczk|_landlord_|_vermieter_|_burglary_|\
         _einbruch_|_cambriolage_|_robo_|_furto_|_assalto_|_inbraak_|_włamani",
    ),
    (
        "flat or floor",
        "_flat_|_apt_|_apartment_|_appartement_|_wohnung_|_piso_|_interno_|_int_|_apto_|_bis_|_lok_|_m_|\
         _floor_|_étage_|_etage_|_izda_|_dcha_|_dto_|_cep_|_unit_|_suite_",
    ),
    (
        "fame",
        "_who was_|_who is_|_wer war_|_wer ist_|_qui était_|_qui est_|_quién fue_|_chi era_|_quem foi_|\
         _wie was_|_kim był_|_famous_|_bekannt_|_célèbre_|_famoso_|_bekend_|_znany_|_novel|_roman|_romanz|\
         _powieś|_poem|_gedicht|_painting|_essay|_statue_|_denkmal_|_history_|_geschichte_|_histoire_|\
         _historia_|_storia_|_história_|_geschiedenis_|_theory_|_theorie_|_symphony_|_freedom_|_freiheit_|\
         _liberté_|_libertad_|_libertà_|_liberdade_|_vrijheid_|_wolności_|_war_|_battle_|_president_|_king_|\
         _queen_",
    ),
    (
        "firm",
        "_inc_|_ltd_|_gmbh_|_ag_|_s.a_|_sa_|_bv_|_llc_|_corp_|_corporation_|_company_|_bank_|_group_|\
         _shares_|_aktie|_revenue_|_umsatz_|_firm|_motors_|_software_|_money_|_geld_|_argent_|_dinero_|\
         _dinheiro_|_guadagna_|_zarabia_|_office_|_büro_|_bureau_|_oficina_|_ufficio_|_escritório_|_kantoor_|\
         _biuro_",
    ),
    (
        "a place to see",
        "_museum_|_musée_|_museo_|_bridge_|_brücke_|_tower_|_castle_|_schloss_|_park_|_visit_|_besuchen_|\
         _visiter_|_visitar_|_visitare_|_bezoeken_|_tour_|_trip_|_station_|_bahnhof_|_hauptbahnhof_|_gare_|\
         _estación_|_stazione_|_estação_|_dworzec_|_airport_|_capital_",
    ),
    (
        "a match or a recipe",
        "_match_|_team_|_won_|_gewann_|_gagné_|_ganó_|_vinto_|_ganhou_|_wygrali_|_goal|_recipe_|_rezept_|\
         _recette_|_receta_|_ricetta_|_receita_|_recept_|_przepis_|_sugar_|_zucker_|_sucre_|_azúcar_|\
         _zucchero_|_açúcar_|_suiker_|_cukru_|_milk_|_milch_|_grams_|_gramm_|_degrees_|_grad_|_ml_",
    ),
    (
        "medicine by its stem",
        "pril_|statin_|statine_|olol_|lol_|mab_|zepam_|azepam_|cillin_|cilline_|prazol_|prazole_|mycin_|\
         micina_|formin_|formine_|formina_|sartan_|oxetin_|oxetine_|pentin_|olone_|profen_|profène_|tamol_|\
         adol_|trexate_|trexat_|thyroxin|_insulin|_tablet|_medication_|_medikament|_médicament|_dose_|_dosis_",
    ),
];
